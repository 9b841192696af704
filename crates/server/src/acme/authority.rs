//! The authority of a node: who keeps its certificate, and the addresses at which it comes by.

use std::sync::Arc;

use posthaste_world::World;

use super::Keeper;
use super::challenge::{self, Answers, Bound, Door};
use super::store::Store;
use crate::config::{Acme, Config};
use crate::fault::Fault;
use crate::shutdown::Shutdown;
use crate::telemetry::Log;
use crate::tls::certificates::Certificates;

/// What a node has of its authority; nothing happens where no authority is wanted.
pub struct Authority {
    world: World,
    log: Arc<Log>,
    answers: Arc<Answers>,
    keeper: Arc<Keeper>,
    doors: Vec<Door>,
}

/// Binds the addresses at which the authority of `acme` comes by.
///
/// # Errors
/// The first that cannot be bound, with what to do.
pub fn bind(world: &World, acme: Option<&Acme>) -> Result<Vec<Bound>, Fault> {
    bind_others(world, acme, &[])
}

fn bind_others(world: &World, acme: Option<&Acme>, open: &[Door]) -> Result<Vec<Bound>, Fault> {
    let Some(acme) = acme else {
        return Ok(Vec::new());
    };
    let wanted = acme.addresses.iter();
    wanted
        .filter(|at| !open.iter().any(|door| door.is(acme.challenge, **at)))
        .map(|at| {
            challenge::bind(world, acme.challenge, *at).map_err(|e| {
                Fault::new(format!("listening on {at} for [tls.acme]"), e).fix(
                    "stop the program that has this port, start as root, or change `address` of \
                     [tls.acme]",
                )
            })
        })
        .collect()
}

impl Authority {
    /// What `config` wants of an authority, whose certificate is served through `certificates`.
    ///
    /// # Errors
    /// The cryptographic library does not do its part.
    pub fn new(
        (world, log): (&World, &Arc<Log>),
        config: &Config,
        certificates: &Arc<Certificates>,
        (bound, stop): (Vec<Bound>, &Shutdown),
    ) -> Result<Self, Fault> {
        let answers = Arc::<Answers>::default();
        let store = Store::of(&config.data_dir);
        let parts = (&answers, certificates);
        let keeper = Keeper::new(world, log, store, parts, config.acme.as_ref());
        let mut authority = Authority {
            world: world.clone(),
            log: log.clone(),
            answers,
            keeper,
            doors: Vec::new(),
        };
        authority.open(bound, stop)?;
        Ok(authority)
    }

    /// Begins to get and renew the certificate, until the server stops.
    pub fn keep(&self, stop: &Shutdown) {
        let keeping = self.keeper.clone().run(stop.clone());
        self.world.work.spawn("acme", Box::pin(keeping));
    }

    /// From now on this is wanted.
    ///
    /// # Errors
    /// An address that cannot be bound; everything stays as it was.
    pub fn reload(&mut self, acme: Option<&Acme>, stop: &Shutdown) -> Result<(), Fault> {
        let new = bind_others(&self.world, acme, &self.doors)?;
        let wanted = |door: &Door| {
            acme.is_some_and(|a| a.addresses.iter().any(|at| door.is(a.challenge, *at)))
        };
        self.doors.retain(wanted);
        self.open(new, stop)?;
        self.keeper.want(acme);
        Ok(())
    }

    fn open(&mut self, bound: Vec<Bound>, stop: &Shutdown) -> Result<(), Fault> {
        for one in bound {
            let parts = (&self.world, &self.log);
            let door = challenge::open(one, &self.answers, parts, stop.clone())?;
            self.doors.push(door);
        }
        Ok(())
    }
}
