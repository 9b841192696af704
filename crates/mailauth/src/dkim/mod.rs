//! DKIM (RFC 6376, with RFC 8301, RFC 8463 and RFC 8616): signatures checked and made.
//!
//! Checked are rsa-sha256 and ed25519-sha256 in both canonicalizations; rsa-sha1 and RSA keys under
//! 1024 bits prove nothing. A message is checked by [`Verifier`](crate::Verifier), in one pass with
//! its ARC chain; it is signed by [`Signer`], in one pass too, with several keys at once. Keys are
//! fetched by [`Keys`], read by [`KeyRecord`], made by [`PrivateKey`].
//!
//! Not here: which messages to sign, where private keys are kept, when they are replaced.

pub(crate) mod block;
pub(crate) mod body;
pub mod canonical;
pub(crate) mod check;
pub(crate) mod flaw;
pub(crate) mod key;
mod lookup;
mod private_key;
mod sign;
pub(crate) mod signature;
pub(crate) mod tag;

pub use canonical::Canonicalization;
pub use check::{Finding, MAX_SIGNATURES};
pub use key::{KeyRecord, PublicKey, RSA_BITS_MAX, RSA_BITS_MIN, RSA_BITS_STRONG, Service};
pub use lookup::{Keys, Publication};
pub use private_key::{BadKey, PrivateKey};
pub use sign::{Signer, Signing, Unsigned};
pub use signature::{Algorithm, MAX_SIGNED_FIELDS};
