//! What is asked of next hops, and what they are shown.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::{CertificateFiles, NamedFile};

/// What a route asks of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RouteTls {
    /// Never.
    None,
    /// When the server offers it, whoever it is; in clear when that fails (RFC 7435). Not on this
    /// machine.
    #[default]
    Opportunistic,
    /// Never without it, whoever the server is.
    Require,
    /// Never without it, and only to a server whose certificate proves its name.
    Verify,
}

/// What is asked of a next hop, and what it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Whether TLS is tried, and what it must prove.
    pub tls: RouteTls,
    /// TLS comes before the greeting.
    pub implicit: bool,
    /// Who we are to it.
    pub login: Option<Login>,
    /// The certificate that it is shown.
    pub certificate: Option<CertificateFiles>,
}

/// A user at a next server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The user's name there.
    pub user: String,
    /// The file whose first line is the password.
    pub password_file: NamedFile,
}

/// The [`Terms`] of one route of one reading of the configuration. Another reading makes others,
/// however alike: what was opened under the old ones is not used under the new.
#[derive(Clone, Debug, Default)]
pub struct Security(Arc<Terms>);

impl Security {
    /// Those of a route.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Security(Arc::new(terms))
    }

    /// Whether nothing is said in clear.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.implicit || matches!(self.tls, RouteTls::Require | RouteTls::Verify)
    }
}

impl Deref for Security {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.0
    }
}

impl PartialEq for Security {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Security {}

/// What distinguishes a way from another to the same servers; empty for ordinary ones.
impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls {
            RouteTls::None => f.write_str(" tls=none")?,
            RouteTls::Opportunistic => {}
            RouteTls::Require => f.write_str(" tls=require")?,
            RouteTls::Verify => f.write_str(" tls=verify")?,
        }
        if let Some(login) = &self.login {
            write!(f, " user={}", login.user)?;
        }
        if let Some(files) = &self.certificate {
            write!(f, " certificate={}", files.certificate.path.display())?;
        }
        Ok(())
    }
}
