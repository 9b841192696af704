//! The DNS door of production.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::dns::{Answer, Failure, Kind};
use crate::{BoxFuture, Clock};

/// Which servers are asked, and whom to believe.
#[derive(Clone, Default, Debug)]
pub struct Settings {
    /// Recursive servers, asked in this order; empty for those in `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Servers whose AD bit is believed although they are not on loopback: the way to them must be
    /// as safe as this machine itself.
    pub trusted: Vec<IpAddr>,
}

/// A caching resolver that asks recursive servers.
pub struct Resolver {
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl Resolver {
    /// Starts with an empty cache.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Resolver { settings, clock }
    }
}

impl crate::Dns for Resolver {
    fn query<'a>(
        &'a self,
        _name: &'a str,
        _kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        let _ = (&self.settings, &self.clock);
        Box::pin(async { Err(Failure::Unreachable("no resolver yet".to_owned())) })
    }
}
