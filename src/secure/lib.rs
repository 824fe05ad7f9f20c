//! Encrypted connections to upstreams, sans-IO: octets, datagrams and time in; octets, datagrams and
//! events out.
//!
//! A session is one connection: [`DotSession`], [`DohSession`], or with the feature `doq` a `DoqSession`.
//! [`Shared`] is what all connections to one upstream have in common: its [`Policy`], its tickets, and the
//! verdict on its certificate. A query is sent only after the upstream has shown what the policy demands,
//! and never in clear text or as early data.
//!
//! Not here: sockets, the choice of connections and their retries (`connections`), which query goes
//! where (`rounds`).

#![forbid(unsafe_code)]

mod certificate;
mod clock;
mod doh;
#[cfg(feature = "doq")]
mod doq;
mod dot;
mod error;
mod event;
mod judge;
mod policy;
mod shared;
mod stream;
mod tls;
mod trust;
mod verifier;

pub use certificate::Validity;
pub use clock::{BUILT_S, Clock, Date};
pub use doh::{DohSession, Http2, HttpEvent, HttpHeaders, HttpRequest, HttpResponse};
#[cfg(feature = "doq")]
pub use doq::{Anchor, DoqSession};
pub use dot::DotSession;
pub use error::{Error, Fault, Phase};
pub use event::{Event, Freshness, Limits, Ready, Reason, Received, Refused};
pub use judge::{Judge, Judgement, Shown, Trial};
pub use policy::{Pin, Policy, Roots, Scheme, Verify};
pub use rustls::pki_types::ServerName;
pub use shared::{Shared, SharedError};
pub use stream::{TlsClient, TlsStream};
pub use trust::{Trust, TrustError};
