//! Pebble, an authority that speaks ACME and gives certificates that nobody trusts.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Nsd, Running, Tree, write};
use crate::tls::Authority;
use crate::{free_address, wait_for_listener};

/// A running Pebble, and the DNS server that it asks for names.
pub struct Pebble {
    running: Running,
    names: Nsd,
    address: SocketAddr,
    /// Where it looks for files of HTTP-01.
    pub http: SocketAddr,
    /// Where it shakes hands for TLS-ALPN-01.
    pub tls: SocketAddr,
}

impl Pebble {
    /// Starts it; it finds `records` in the DNS.
    #[must_use]
    pub fn start(records: &str) -> Option<Self> {
        let names = Nsd::start(records)?;
        let tree = Tree::require("pebble")?;
        let folder = crate::folder();
        let (address, http, tls) = (free_address(), free_address(), free_address());
        let dir = folder.path().display().to_string();
        // Its own server's certificate has nothing to do with those that it gives.
        let authority = Authority::new();
        authority.certify(folder.path(), "own", &["localhost"]);
        write(&folder.path().join("root.pem"), authority.pem());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": free_address().to_string(),
            "certificate": format!("{dir}/own.pem"),
            "privateKey": format!("{dir}/own.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        write(&folder.path().join("pebble.json"), &config.to_string());
        let resolver = names.address.to_string();
        // It refuses nonces at random as it comes, which clients must bear.
        let script = "PEBBLE_VA_NOSLEEP=1 pebble -strict -config $1/pebble.json -dnsserver $2";
        let running = tree.start(folder, script, &[&dir, &resolver]);
        wait_for_listener("pebble", address);
        Some(Pebble {
            running,
            names,
            address,
            http,
            tls,
        })
    }

    /// The URL of its directory.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// The root of its own server's certificate.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.running.dir().join("root.pem")
    }

    /// What it has said.
    #[must_use]
    pub fn said(&self) -> String {
        self.running.said() + &self.names.said()
    }
}
