//! `[[listener]]`: where to listen, and what for.

use std::ops::Range;

use posthaste_world::net::Endpoint;

use super::{Meaning, text};
use crate::config::file::{self, File};
use crate::config::value::{Many, Setting};
use crate::config::{Listener, ListenerTls, Network, Networks, Service};
use crate::route::SMTP_PORT;

impl Meaning<'_> {
    pub(super) fn listeners(&mut self, file: &File) -> Vec<Listener> {
        let Some(written) = &file.listener else {
            return Vec::new();
        };
        if written.value.0.is_empty() {
            self.reader.error(
                &written.span,
                "there is no [[listener]]: nothing would receive mail",
                "add `[[listener]]` with `address = [\"0.0.0.0:25\", \"[::]:25\"]` and \
                 `service = \"mx\"`",
            );
        }
        let mut taken: Vec<Endpoint> = Vec::new();
        written
            .value
            .0
            .iter()
            .filter_map(|l| self.listener(&l.value, &mut taken))
            .collect()
    }

    fn listener(&mut self, l: &file::Listener, taken: &mut Vec<Endpoint>) -> Option<Listener> {
        let tls = l.tls.as_ref().and_then(|t| self.listener_tls(t));
        let proxies = self.trusted(l.proxy_protocol_from.as_ref());
        let relays = self.trusted(l.xclient_from.as_ref());
        let service = l.service.as_ref().and_then(|s| self.service(s));
        let addresses = l.address.as_ref();
        let addresses = addresses.and_then(|a| self.endpoints(a, service, taken));
        let tls = match service {
            Some(Service::Lmtp) => self.lmtp(l),
            _ => tls,
        };
        let listener = Listener {
            addresses: addresses?,
            service: service?,
            tls: tls?,
            // A value of the wrong kind has been reported, and says nothing here.
            auth_without_tls: l.auth_without_tls.as_ref().is_none_or(|a| a.value),
            proxies,
            relays,
        };
        self.no_password_in_clear(l, &listener);
        Some(listener)
    }

    /// Reports a listener that would take passwords in clear where others can read them, or that
    /// nobody could authenticate on.
    fn no_password_in_clear(&mut self, l: &file::Listener, listener: &Listener) {
        let loopback = |e: &Endpoint| e.ip().is_some_and(|ip| ip.to_canonical().is_loopback());
        let (written, cause, fix) = match listener {
            Listener {
                service: Service::Mx | Service::Lmtp,
                auth_without_tls: true,
                ..
            } => (
                l.auth_without_tls.as_ref().map(|a| &a.span),
                "only a listener for `submission` offers AUTH",
                "remove `auth_without_tls`, or write `service = \"submission\"`",
            ),
            Listener {
                auth_without_tls: true,
                addresses,
                ..
            } if !addresses.iter().all(loopback) => (
                l.auth_without_tls.as_ref().map(|a| &a.span),
                "passwords would come in clear from other machines",
                "remove `auth_without_tls`, or listen on 127.0.0.1 and [::1] only",
            ),
            Listener {
                auth_without_tls: true,
                ..
            } if l
                .proxy_protocol_from
                .as_ref()
                .is_some_and(|p| p.value.written > 0) =>
            {
                (
                    l.auth_without_tls.as_ref().map(|a| &a.span),
                    "passwords would come in clear from whom a proxy speaks for",
                    "remove `auth_without_tls`, or `proxy_protocol_from`",
                )
            }
            Listener {
                service: Service::Submission,
                tls: ListenerTls::None,
                auth_without_tls: false,
                ..
            } => (
                l.tls.as_ref().map(|t| &t.span),
                "submission needs AUTH, and without TLS passwords would come in clear",
                "write `tls = \"starttls\"` (port 587) or `tls = \"implicit\"` (port 465); on \
                 loopback `auth_without_tls = true` does without",
            ),
            _ => return,
        };
        if let Some(span) = written {
            self.reader.error(span, cause, fix);
        }
    }

    /// LMTP comes from this machine alone, in clear: `starttls`, which is the default, means
    /// nothing there.
    fn lmtp(&mut self, l: &file::Listener) -> Option<ListenerTls> {
        let tls = l.tls.as_ref()?;
        if tls.value == "implicit" {
            let cause = "LMTP is served on this machine alone, and in clear";
            self.reader.error(&tls.span, cause, "write \"none\"");
        }
        if let Some(proxies) = l.proxy_protocol_from.as_ref()
            && proxies.value.written > 0
        {
            let cause = "no proxy stands before an LMTP listener";
            let fix = "remove `proxy_protocol_from` here";
            self.reader.error(&proxies.span, cause, fix);
        }
        Some(ListenerTls::None)
    }

    /// Networks whose hosts may say that they are somebody else.
    fn trusted(&mut self, written: Option<&Setting<Many<Network>>>) -> Networks {
        let networks = written.map(|n| n.value.list.as_slice()).unwrap_or_default();
        for network in networks {
            let cause = format!("every host in `{}` may come as any address", network.value);
            if network.value.is_vast() {
                let fix = "name only the hosts that are meant, like \"192.0.2.7\"";
                self.reader.error(&network.span, cause, fix);
            } else if network.value.is_wide() || network.value.is_whole_private() {
                let fix = "name only the hosts that are meant, like \"192.0.2.7\", unless no \
                           other can come from there";
                self.reader.warn(&network.span, cause, fix);
            }
        }
        networks.iter().map(|n| n.value).collect()
    }

    fn listener_tls(&mut self, written: &Setting<String>) -> Option<ListenerTls> {
        let cause = match written.value.as_str() {
            "none" => return Some(ListenerTls::None),
            "starttls" => return Some(ListenerTls::StartTls),
            "implicit" => return Some(ListenerTls::Implicit),
            other => format!("`{other}` is not a kind of TLS"),
        };
        let fix = "write \"starttls\", \"implicit\" or \"none\"";
        self.reader.error(&written.span, cause, fix);
        None
    }

    fn service(&mut self, written: &Setting<String>) -> Option<Service> {
        let cause = match written.value.as_str() {
            "mx" => return Some(Service::Mx),
            "submission" => return Some(Service::Submission),
            "lmtp" => return Some(Service::Lmtp),
            other => format!("`{other}` is not a service"),
        };
        let fix = "write \"mx\", \"submission\" or \"lmtp\"";
        self.reader.error(&written.span, cause, fix);
        None
    }

    fn endpoints(
        &mut self,
        written: &Setting<Many<String>>,
        service: Option<Service>,
        taken: &mut Vec<Endpoint>,
    ) -> Option<Vec<Endpoint>> {
        if written.value.written == 0 {
            self.reader.error(
                &written.span,
                "this [[listener]] has no address",
                "write `address = [\"0.0.0.0:25\", \"[::]:25\"]`",
            );
        }
        let mut endpoints = Vec::new();
        for address in &written.value.list {
            let Some(endpoint) = self.endpoint(address, service) else {
                continue;
            };
            self.free(&endpoint, &address.span, taken);
            taken.push(endpoint.clone());
            endpoints.push(endpoint);
        }
        (!endpoints.is_empty()).then_some(endpoints)
    }

    fn endpoint(
        &mut self,
        written: &Setting<String>,
        service: Option<Service>,
    ) -> Option<Endpoint> {
        let lmtp = service == Some(Service::Lmtp);
        let fix = match lmtp {
            true => "write \"127.0.0.1:24\", \"[::1]:24\", or a socket like \"unix:lmtp.sock\"",
            false => {
                "write an address and a port, like \"0.0.0.0:25\", \"[::]:25\" or \
                 \"127.0.0.1:2525\""
            }
        };
        let cause = match written.value.strip_prefix("unix:") {
            Some("") => "the path is missing".to_string(),
            Some(path) if lmtp => return Some(Endpoint::Unix(self.path(path))),
            Some(_) => "a Unix socket can serve LMTP only".to_string(),
            None => match text::socket_address(&written.value, None) {
                Ok(at) if lmtp && !at.ip().is_loopback() => {
                    "LMTP is served on this machine alone".to_string()
                }
                // RFC 2033 §5.
                Ok(at) if lmtp && at.port() == SMTP_PORT => {
                    "port 25 is for SMTP, whose peers do not speak LMTP".to_string()
                }
                Ok(at) => return Some(Endpoint::Tcp(at)),
                Err(cause) => cause,
            },
        };
        let cause = format!("cannot listen on `{}`: {cause}", written.value);
        self.reader.error(&written.span, cause, fix);
        None
    }

    /// Reports an endpoint that an earlier one leaves no room for.
    pub(super) fn free(&mut self, new: &Endpoint, span: &Range<usize>, taken: &[Endpoint]) {
        if matches!(new, Endpoint::Unix(_)) && taken.contains(new) {
            let cause = "this socket is listened on twice";
            self.reader.error(span, cause, "remove one of them");
        }
        let Endpoint::Tcp(new) = new else { return };
        let clash = taken.iter().find_map(|t| match t {
            Endpoint::Tcp(t) if t.port() == new.port() && new.port() != 0 => {
                let same_family = t.is_ipv4() == new.is_ipv4();
                let wild = t.ip().is_unspecified() || new.ip().is_unspecified();
                (t.ip() == new.ip() || same_family && wild).then_some(*t)
            }
            _ => None,
        });
        if let Some(earlier) = clash {
            let cause = if earlier == *new {
                format!("`{new}` is listened on twice")
            } else {
                format!("`{new}` overlaps with `{earlier}` above")
            };
            self.reader
                .error(span, cause, "remove one of them, or give it another port");
        }
    }
}
