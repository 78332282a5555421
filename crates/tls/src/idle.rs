//! A connection that ends when nothing was moved over it for a while, in either direction.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A connection with a clock that each byte sets back.
pub(crate) struct Idle<T> {
    io: T,
    patience: Duration,
    clock: Pin<Box<Sleep>>,
}

impl<T> Idle<T> {
    pub(crate) fn new(io: T, patience: Duration) -> Self {
        Self { io, patience, clock: Box::pin(sleep(patience)) }
    }

    /// Sets the clock back if something was moved; if not, tells whether it has run out.
    fn judge<R>(
        &mut self,
        moved: bool,
        polled: Poll<io::Result<R>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        match polled {
            Poll::Ready(done) => {
                if moved {
                    self.clock.as_mut().reset(Instant::now() + self.patience);
                }
                Poll::Ready(done)
            }
            Poll::Pending => match self.clock.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Idle<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let moved = buffer.filled().len() > before;
        self.judge(moved, polled, cx)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Idle<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        let moved = matches!(polled, Poll::Ready(Ok(1..)));
        self.judge(moved, polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(false, polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.judge(false, polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        let moved = matches!(polled, Poll::Ready(Ok(1..)));
        self.judge(moved, polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const PATIENCE: Duration = Duration::from_millis(400);

    #[tokio::test]
    async fn a_connection_lives_while_something_is_moved_and_ends_when_nothing_is() {
        let (near, mut far) = duplex(8);
        let mut near = Idle::new(near, PATIENCE);
        let started = Instant::now();
        while started.elapsed() < PATIENCE * 2 {
            sleep(PATIENCE / 8).await;
            far.write_all(b"x").await.unwrap();
            assert_eq!(near.read_u8().await.unwrap(), b'x');
        }
        let silent_since = Instant::now();
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(silent_since.elapsed() >= PATIENCE / 2);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_the_connection_too() {
        let (near, _far) = duplex(8);
        let mut near = Idle::new(near, PATIENCE);
        assert_eq!(near.write_all(&[0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
