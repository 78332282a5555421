//! Ends TLS in front of plain services: certificates, an authority for development, a listener, a proxy.
//!
//! What it is for: `https://` and `wss://` for game servers that speak plain HTTP and WebSocket, and for the API itself.
//!
//! What it must not know: deployments, hosts, the store, the API. It is told ports and where they lead.
//!
//! Entry points: [`Identity`] holds a certificate that can be replaced while it is in use; [`Authority`] makes certificates
//! for installations that have none; [`acme`] gets them from an authority that everybody knows; [`Acceptor`] is a listener;
//! [`Proxy`] opens and closes ports.
//!
//! TLS 1.2 and 1.3 by rustls with ring. Every connection that is accepted shows the one certificate of its identity,
//! whatever name its client asks for: who has the wrong name is told so by the certificate.

mod acceptor;
pub mod acme;
mod authority;
mod holders;
mod identity;
mod idle;
mod pinned;
mod proxy;

pub use acceptor::Acceptor;
pub use authority::Authority;
pub use identity::{CertificateFault, Identity, Issued, load};
pub use pinned::pinned;
pub use proxy::{Guests, Limits, Proxy, Route};
pub use tokio_rustls::server::TlsStream;
