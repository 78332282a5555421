//! Who follows logs: a bounded number in all and for each token, since each holds a connection and a stream of its host.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use spawnpoint_model::TokenId;

use crate::error::ApiError;
use crate::limits::{FOLLOWERS_MAX, FOLLOWERS_PER_TOKEN_MAX};

/// Counts them.
#[derive(Clone, Default)]
pub struct Followers(Arc<Mutex<HashMap<TokenId, usize>>>);

/// One follower's place; given back when dropped.
pub struct Slot {
    followers: Followers,
    token: TokenId,
}

impl Followers {
    /// A place for one more.
    ///
    /// # Errors
    /// 429.
    pub fn take(&self, token: &TokenId) -> Result<Slot, ApiError> {
        let mut counts = self.0.lock();
        let (all, own) = (counts.values().sum::<usize>(), counts.get(token).copied().unwrap_or(0));
        let refused = |message: String| {
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, message);
            Err(error.with_header(RETRY_AFTER, HeaderValue::from_static("10")))
        };
        if own >= FOLLOWERS_PER_TOKEN_MAX {
            return refused(format!(
                "this token follows {own} logs already, and may follow no more at a time"
            ));
        }
        if all >= FOLLOWERS_MAX {
            return refused("too many logs are being followed: try again later".to_owned());
        }
        *counts.entry(token.clone()).or_default() += 1;
        Ok(Slot { followers: self.clone(), token: token.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.followers.0.lock();
        if let Some(count) = counts.get_mut(&self.token) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_token_and_in_all_and_come_back() {
        let followers = Followers::default();
        let token = |n: usize| TokenId::from(format!("t{n}").as_str());
        let mut slots: Vec<Slot> =
            (0..FOLLOWERS_PER_TOKEN_MAX).map(|_| followers.take(&token(0)).unwrap()).collect();
        assert_eq!(followers.take(&token(0)).err().unwrap().status(), 429);
        slots.pop();
        slots.push(followers.take(&token(0)).unwrap());
        let others = (FOLLOWERS_PER_TOKEN_MAX..FOLLOWERS_MAX).map(|n| followers.take(&token(n)).unwrap());
        slots.extend(others.collect::<Vec<_>>());
        assert_eq!(followers.take(&token(9999)).err().unwrap().status(), 429);
        drop(slots);
        assert!(followers.0.lock().is_empty());
    }
}
