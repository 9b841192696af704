//! `[[route]]` and `[relay]`: mail for domains that are not ours.

use super::{Meaning, text};
use crate::config::file::{self, File};
use crate::config::network::Networks;
use crate::config::value::{Many, Setting};
use crate::config::{
    CertificateFiles, Login, Pattern, Route, RouteTls, Security, Server, Terms, Via,
};

/// Most servers of one route.
const SERVERS_MAX: usize = 64;

const VIA_FIX: &str = "write \"smtp://host:25\", a list of these, \"smtps://host:465\", \
                       \"lmtp://host:24\", \"mx\" or \"discard:\"";
const TLS_FIX: &str = "write `tls = \"opportunistic\"`, \"require\", \"verify\" or \"none\"";

impl Meaning<'_> {
    pub(super) fn relay_networks(&mut self, file: &File) -> Networks {
        let written = file.relay.as_ref().and_then(|r| r.value.networks.as_ref());
        let networks = written.map(|n| n.value.list.as_slice()).unwrap_or_default();
        for network in networks.iter().filter(|n| n.value.is_vast()) {
            self.reader.error(
                &network.span,
                format!("`{}` would make this an open relay", network.value),
                "name only networks of your own hosts, like \"192.0.2.0/24\"",
            );
        }
        for network in networks
            .iter()
            .filter(|n| n.value.is_wide() && !n.value.is_vast())
        {
            self.reader.warn(
                &network.span,
                format!(
                    "every host in `{}` may send mail to anybody in your name",
                    network.value
                ),
                "name smaller networks, unless all of these hosts are yours",
            );
        }
        networks.iter().map(|n| n.value).collect()
    }

    pub(super) fn routes(&mut self, file: &File) -> Vec<Route> {
        let written = file
            .route
            .as_ref()
            .map(|r| r.value.0.as_slice())
            .unwrap_or_default();
        let mut routes = Vec::new();
        let mut all: Option<usize> = None;
        for (at, route) in written.iter().enumerate() {
            if let Some(earlier) = all {
                self.reader.warn(
                    &route.span,
                    format!(
                        "this route is never used: route {} matches everything",
                        earlier + 1
                    ),
                    "move the route with \"*\" to the end",
                );
            }
            let Some(route) = self.route(&route.value) else {
                continue;
            };
            if all.is_none() && route.recipients.contains(&Pattern::All) {
                all = Some(at);
            }
            routes.push(route);
        }
        routes
    }

    fn route(&mut self, written: &file::Route) -> Option<Route> {
        let recipients = written.recipients.as_ref().and_then(|r| self.patterns(r));
        let via = written.via.as_ref().and_then(|v| self.via(v));
        let tls = written.tls.as_ref().and_then(|t| self.route_tls(t));
        let terms = Terms {
            tls: tls.unwrap_or_default(),
            implicit: matches!(via, Some(Via::Smtps(_))),
            login: self.login(written),
            certificate: self.client_certificate(written),
        };
        if let (Some(via), Some(_)) = (&via, tls) {
            self.agree(written, via, &terms);
        }
        tls?;
        Some(Route {
            recipients: recipients?,
            via: via?,
            security: Security::new(terms),
        })
    }

    fn patterns(&mut self, written: &Setting<Many<String>>) -> Option<Vec<Pattern>> {
        if written.value.written == 0 {
            self.reader.error(
                &written.span,
                "this route is for no domain",
                "write `recipients = [\"*\"]`, or name domains",
            );
        }
        let patterns: Vec<_> = written.value.list.iter().map(|p| self.pattern(p)).collect();
        patterns.into_iter().collect()
    }

    fn pattern(&mut self, written: &Setting<String>) -> Option<Pattern> {
        let text = written.value.as_str();
        if text == "*" {
            return Some(Pattern::All);
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let cause = match text::domain_name(name) {
            Ok(name) if below => return Some(Pattern::Below(name)),
            Ok(name) => return Some(Pattern::Exactly(name)),
            Err(_) if text.contains('@') => "routes go by domain, not by address".to_string(),
            Err(cause) => cause,
        };
        self.reader.error(
            &written.span,
            format!("`{text}` is not a domain or a pattern: {cause}"),
            "write \"example.net\", \"*.example.net\" for those below it, or \"*\" for all",
        );
        None
    }

    fn via(&mut self, written: &Setting<Many<String>>) -> Option<Via> {
        let list = &written.value.list;
        if !(1..=SERVERS_MAX).contains(&written.value.written) {
            let cause = format!("a route cannot lead to {} servers", written.value.written);
            self.reader.error(&written.span, cause, VIA_FIX);
            return None;
        }
        let hops: Vec<_> = list.iter().map(|v| self.hop(v)).collect();
        let mut hops = hops.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
        let mut via = hops.next()?;
        for (hop, entry) in hops.zip(list.iter().skip(1)) {
            match (&mut via, hop) {
                (Via::Smtp(all), Via::Smtp(more))
                | (Via::Smtps(all), Via::Smtps(more))
                | (Via::Lmtp(all), Via::Lmtp(more)) => all.extend(more),
                _ => {
                    let cause = "the entries of one route are of different kinds";
                    self.reader.error(&entry.span, cause, VIA_FIX);
                    return None;
                }
            }
        }
        Some(via)
    }

    fn hop(&mut self, written: &Setting<String>) -> Option<Via> {
        let one = |server: Result<Server, String>, via: fn(Vec<Server>) -> Via| {
            server.and_then(|s| self.another(s)).map(|s| via(vec![s]))
        };
        let text = written.value.as_str();
        let hop = match text.split_once("://") {
            _ if text == "mx" => Ok(Via::Mx),
            _ if text == "discard:" => Ok(Via::Discard),
            Some(("smtp", host)) => one(text::server(host, 25), Via::Smtp),
            Some(("lmtp", host)) => one(text::server(host, 24), Via::Lmtp),
            Some(("smtps", host)) => one(text::server(host, 465), Via::Smtps),
            Some((scheme, _)) => Err(format!("`{scheme}` is not a protocol for mail")),
            None => match text.strip_prefix("lmtp+unix:") {
                Some(path) => one(self.unix(path), Via::Lmtp),
                None => Err("the protocol is missing".to_string()),
            },
        };
        match hop {
            Ok(via) => Some(via),
            Err(cause) => {
                let cause = format!("cannot send to `{text}`: {cause}");
                self.reader.error(&written.span, cause, VIA_FIX);
                None
            }
        }
    }

    /// The Unix socket at `path`.
    pub(super) fn unix(&self, path: &str) -> Result<Server, String> {
        if path.is_empty() {
            return Err("the path is missing".into());
        }
        Ok(Server::Unix(self.path(path)))
    }

    fn route_tls(&mut self, written: &Setting<String>) -> Option<RouteTls> {
        let cause = match written.value.as_str() {
            "none" => return Some(RouteTls::None),
            "opportunistic" => return Some(RouteTls::Opportunistic),
            "require" => return Some(RouteTls::Require),
            "verify" => return Some(RouteTls::Verify),
            "dane" => "DANE (RFC 7672) comes with a later version".to_string(),
            other => format!("`{other}` is not a kind of TLS"),
        };
        self.reader.error(&written.span, cause, TLS_FIX);
        None
    }

    fn login(&mut self, written: &file::Route) -> Option<Login> {
        match (&written.user, &written.password_file) {
            (Some(user), Some(file)) => Some(Login {
                user: user.value.clone(),
                password_file: self.named_file(file),
            }),
            (Some(alone), None) => {
                let fix = "add `password_file = \"password\"`, a file whose first line it is";
                self.reader
                    .error(&alone.span, "this user has no `password_file`", fix);
                None
            }
            (None, Some(alone)) => {
                let fix = "add `user = \"name\"`, as the server knows it";
                self.reader
                    .error(&alone.span, "this password has no `user`", fix);
                None
            }
            (None, None) => None,
        }
    }

    fn client_certificate(&mut self, written: &file::Route) -> Option<CertificateFiles> {
        match (&written.client_certificate, &written.client_key) {
            (Some(certificate), Some(key)) => Some(self.pair(certificate, key)),
            (Some(alone), None) => {
                let fix = "add `client_key = \"client.key\"`, the file with the certificate's key";
                self.reader
                    .error(&alone.span, "this certificate has no `client_key`", fix);
                None
            }
            (None, Some(alone)) => {
                let fix =
                    "add `client_certificate = \"client.pem\"`, the file with its certificate";
                self.reader
                    .error(&alone.span, "this key has no `client_certificate`", fix);
                None
            }
            (None, None) => None,
        }
    }

    /// Looks whether the parts of a route go together.
    fn agree(&mut self, written: &file::Route, via: &Via, terms: &Terms) {
        let servers = match via {
            Via::Smtp(servers) | Via::Smtps(servers) | Via::Lmtp(servers) => servers.as_slice(),
            Via::Discard | Via::Mx => &[],
        };
        if let (Some(tls), RouteTls::None) = (&written.tls, terms.tls)
            && terms.implicit
        {
            let fix = "write `smtp://`, or remove `tls`";
            self.reader
                .error(&tls.span, "`smtps://` is nothing without TLS", fix);
        }
        if let (Some(tls), true) = (&written.tls, Security::new(terms.clone()).is_strict())
            && servers
                .iter()
                .any(|server| matches!(server, Server::Unix(_)))
        {
            let cause = "a Unix socket has no TLS, and nobody can listen to it";
            self.reader.error(&tls.span, cause, "remove `tls`");
        }
        let Some(user) = written.user.as_ref().filter(|_| terms.login.is_some()) else {
            return;
        };
        if servers.is_empty() {
            let cause = "there is no server to log in to";
            self.reader
                .error(&user.span, cause, "name one in `via`, or remove `user`");
        } else if terms.tls != RouteTls::Verify && !servers.iter().all(is_this_machine) {
            self.reader.error(
                &user.span,
                "the password would go to whoever answers in the server's place",
                "add `tls = \"verify\"`",
            );
        }
    }
}

/// Whether a server is on this machine, so that nobody can stand in between.
fn is_this_machine(server: &Server) -> bool {
    match server {
        Server::Name(name, _) => name.as_str() == "localhost",
        Server::Address(at) => at.ip().is_loopback(),
        Server::Unix(_) => true,
    }
}
