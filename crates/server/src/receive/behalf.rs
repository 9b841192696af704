//! XCLIENT: a peer that the listener trusts says for whom it speaks (the Postfix XCLIENT protocol).
//!
//! From then on the client is who counts, in limits, policy, traces and records: its address, or
//! none where that is unknown, which grants nothing; and the hello name that it used. Who logged in
//! elsewhere (`LOGIN`) is believed on a listener for submission alone, and only when there is such
//! an account: everywhere else nothing follows from a login. `PROTO` and the `DEST…` attributes
//! change nothing here. What was said before TLS is forgotten in the handshake, as all is
//! (RFC 3207 §4.2).
//!
//! It does **not** decide who may say so: the listener's `xclient_from` does.

use std::net::{IpAddr, SocketAddr};

use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Attribute, Xclient};
use posthaste_world::net::Endpoint;

use super::Reception;
use super::visit::Visit;
use crate::authenticate::Login;
use crate::config::Service;

/// Turns `visit` into that of the client that `said` describes: the greeting for it, or a refusal
/// that leaves everything as it was.
pub async fn speak_for(said: &Xclient, visit: &mut Visit, stages: &Reception) -> Reply {
    let login = match login(said, visit, stages).await {
        Ok(login) => login,
        Err(refusal) => return refusal,
    };
    let address = match &said.addr {
        Some(Attribute::Known(ip)) => Some(*ip),
        Some(_) => None,
        None => visit.address,
    };
    if address != visit.address {
        let rates = visit.seat.rates().clone();
        match stages.policy.seat(address, stages.now(), &rates) {
            Ok(seat) => visit.seat = seat,
            Err(hit) => return visit.met(hit, stages),
        }
    }
    let relay = visit.peer_text.clone();
    visit.becomes(peer(said, &visit.peer, address), address);
    visit.login = login;
    visit.name = known(said.name.as_ref());
    visit.client_hello = known(said.helo.as_ref());
    visit.spoken_for(&relay, stages);
    stages.policy.connect(visit.service)
}

/// Whose mail it is, when the peer says so and may.
async fn login(said: &Xclient, visit: &Visit, stages: &Reception) -> Result<Option<Login>, Reply> {
    let Some(Attribute::Known(name)) = &said.login else {
        return Ok(None);
    };
    let refusal = |text| Reply::new(550, (5, 7, 1), text);
    if visit.service != Service::Submission {
        let text = "LOGIN counts where users submit mail, and not here; leave it out";
        return Err(refusal(text.to_string()));
    }
    match stages.authenticator.account(name).await {
        Some(login) => Ok(Some(login)),
        None => Err(refusal(format!("there is no account {name} here"))),
    }
}

/// The client's end of its connection. A client whose address is unknown keeps the peer's, which
/// grants it nothing.
fn peer(said: &Xclient, relay: &Endpoint, address: Option<IpAddr>) -> Endpoint {
    let port = match (&said.port, relay) {
        (Some(Attribute::Known(port)), _) => *port,
        (None, Endpoint::Tcp(at)) if said.addr.is_none() => at.port(),
        _ => 0,
    };
    match address {
        Some(ip) => Endpoint::Tcp(SocketAddr::new(ip, port)),
        None => relay.clone(),
    }
}

fn known(attribute: Option<&Attribute<Box<str>>>) -> Option<String> {
    match attribute {
        Some(Attribute::Known(text)) => Some(text.to_string()),
        _ => None,
    }
}
