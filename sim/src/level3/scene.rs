//! What everybody in a run shares.

use std::net::IpAddr;
use std::sync::Mutex;

use super::dns::SimDns;
use super::ledger::Ledger;
use super::net::SimNet;
use crate::clock::SimClock;
use crate::rng::Rng;

/// Time, network, names, and the book of what was seen.
pub(super) struct Scene {
    pub(super) clock: SimClock,
    pub(super) net: SimNet,
    pub(super) dns: SimDns,
    pub(super) ledger: Mutex<Ledger>,
    /// Where the clients are.
    pub(super) clients: IpAddr,
    rng: Mutex<Rng>,
}

impl Scene {
    pub(super) fn new(
        (clock, net, dns): (SimClock, SimNet, SimDns),
        clients: IpAddr,
        rng: Rng,
    ) -> Self {
        Scene {
            clock,
            net,
            dns,
            ledger: Mutex::default(),
            clients,
            rng: Mutex::new(rng),
        }
    }

    /// A number below `bound`.
    pub(super) fn draw(&self, bound: u64) -> u64 {
        crate::locked(&self.rng).below(bound)
    }
}
