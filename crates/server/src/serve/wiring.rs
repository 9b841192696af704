//! What one configuration wires: the stages of reception and of delivery, and the queue between
//! them.
//!
//! This module does **not** start anything: [`super::Node`] does.

use std::sync::{Arc, PoisonError, RwLock};

use posthaste_queue::backoff::Intervals;
use posthaste_queue::schedule::{self, Expiry};
use posthaste_queue::{Queue, spool};
use posthaste_smtp::server;
use posthaste_world::World;
use posthaste_world::net::Endpoint;

use crate::authenticate::{Authenticator, message};
use crate::config::Config;
use crate::deliver::Delivery;
use crate::deliver::local::Local;
use crate::deliver::outbound::Outbound;
use crate::deliver::smtp::Smtp;
use crate::dispatch::Stages;
use crate::fault::Fault;
use crate::feedback;
use crate::lookup::Directory;
use crate::policy::Policy;
use crate::receive::Reception;
use crate::report::Reports;
use crate::route::Route;
use crate::route::mx::{Mx, Ourselves};
use crate::shutdown::Shutdown;
use crate::sign::rotation;
use crate::telemetry::{Event, Log};
use crate::tls::roots;

use super::{Parts, SMTP_PORT, takes_mail_by_mx};

/// Workers at once in all.
const WORKERS: usize = 500;
/// The directory by which new messages are scheduled; a reload exchanges it.
pub(super) struct Names(RwLock<Arc<Directory>>);

impl Names {
    fn now(&self) -> Arc<Directory> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Names(RwLock::new(directory))
    }

    pub(super) fn replace(&self, directory: Arc<Directory>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = directory;
    }
}

/// What one configuration wires.
pub(super) struct Wiring<'a> {
    world: &'a World,
    log: &'a Arc<Log>,
    config: &'a Config,
    parts: &'a Parts,
    pub(super) directory: Arc<Directory>,
}

impl<'a> Wiring<'a> {
    pub(super) fn new(
        world: &'a World,
        log: &'a Arc<Log>,
        config: &'a Config,
        parts: &'a Parts,
    ) -> Self {
        Wiring {
            parts,
            world,
            log,
            config,
            directory: Arc::new(Directory::new(config)),
        }
    }

    pub(super) fn open_queue(&self, names: &Arc<Names>) -> Result<Arc<Queue>, Fault> {
        let clock = &self.world.clock;
        let begun = clock.elapsed();
        let alarm = self.log.clone();
        let settings = posthaste_queue::Settings {
            spool: spool::Settings {
                alarm: Arc::new(move |fault| tell(&alarm, fault)),
                ..spool::Settings::default()
            },
            schedule: schedule_settings(self.config),
        };
        let names = names.clone();
        let key: posthaste_queue::Key = Arc::new(move |r| names.now().destination(&r.address));
        let dir = self.config.data_dir.join("spool");
        let (queue, opened) = Queue::open(self.world, &dir, settings, key).map_err(|f| {
            Fault::new(format!("{} {}", f.doing(), f.path().display()), f.cause()).fix(f.advice())
        })?;
        for fault in &opened.faults {
            tell(self.log, fault);
        }
        let took = clock.elapsed().saturating_sub(begun);
        self.log.emit(&Event::Recovered {
            messages: opened.messages,
            damaged: opened.faults.len(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        Ok(queue)
    }

    pub(super) fn stages(&self, listening: &[Endpoint]) -> Result<Stages, Fault> {
        let (world, config) = (self.world, self.config);
        let hostname = config.hostname.as_str();
        let addresses = listening
            .iter()
            .filter(|e| takes_mail_by_mx(e))
            .filter_map(Endpoint::ip);
        let ourselves = Ourselves::new([hostname.to_string()], addresses);
        let mx = Mx::new(
            world.dns.clone(),
            world.random.clone(),
            ourselves,
            SMTP_PORT,
        );
        let expire_after = config.retry.expire_after;
        let directory = &self.directory;
        let roots = Arc::new(roots::of_the_system());
        let outbound = Outbound::new(config, &self.parts.credentials, &roots, &world.clock)?;
        Ok(Stages {
            delivery: Delivery {
                route: Route::new(directory.clone(), mx),
                forwarding: self.parts.forwarding.clone(),
                smtp: Smtp::new(world.clone(), hostname, outbound),
                local: Local::new(world.clone(), hostname).with_helpers(self.parts.helpers.clone()),
            },
            reports: Reports::new(
                world.clone(),
                directory.clone(),
                hostname,
                expire_after,
                self.parts.signatures.clone(),
            ),
            feedback: self.parts.feedback.clone(),
            intervals: Intervals::new(&config.retry.intervals),
        })
    }

    pub(super) fn reception(&self, queue: &Arc<Queue>, shutdown: &Shutdown) -> Arc<Reception> {
        let config = self.config;
        let mut settings = server::Settings::new(config.hostname.as_str());
        settings.message_size = config.limits.message_size;
        settings.recipients = config.limits.recipients;
        settings.errors = config.limits.errors;
        settings.commands = config.limits.commands;
        settings.extensions.dsn = true;
        settings.extensions.chunking = true;
        settings.extensions.smtp_utf8 = true;
        settings.extensions.binary_mime = true;
        settings.extensions.require_tls = true;
        // Said only to those who may authenticate.
        settings.extensions.deliver_by = Some(0);
        settings.extensions.priority = true;
        // What is announced must be true even where an hour allows fewer (RFC 9422 §4).
        let hourly = usize::try_from(config.limits.recipients_per_hour).unwrap_or(usize::MAX);
        settings.extensions.limits = settings.recipients <= hourly;
        let (networks, limits) = (config.relay_networks.clone(), config.limits.clone());
        let directory = self.directory.clone();
        Arc::new(Reception {
            world: self.world.clone(),
            log: self.log.clone(),
            settings: Arc::new(settings),
            acceptor: self.parts.acceptor.clone(),
            asking: self.parts.asking.clone(),
            authenticator: Authenticator::new(
                self.world.clone(),
                self.parts.guard.clone(),
                self.parts.accounts.clone(),
                config.accounts.mechanisms.clone(),
                config.hostname.as_str(),
            ),
            judging: Arc::new(message::Settings {
                authserv_id: config.hostname.to_string(),
                rules: config.dmarc.clone(),
            }),
            policy: Policy::new(
                directory,
                networks,
                limits,
                (config.hostname.as_str(), self.parts.forwarding.clone()),
            ),
            signatures: self.parts.signatures.clone(),
            feedback: self.parts.feedback.clone(),
            senders: self.parts.senders.clone(),
            queue: queue.clone(),
            shutdown: shutdown.clone(),
        })
    }
}

fn tell(log: &Log, fault: &spool::Fault) {
    log.fault(
        &format!("{} {}", fault.doing(), fault.path().display()),
        fault.cause(),
    );
}

pub(super) fn schedule_settings(config: &Config) -> schedule::Settings {
    let retry = &config.retry;
    let ordinary = Expiry {
        notice_after: Some(retry.delay_notice_after),
        expire_after: retry.expire_after,
    };
    // A report that cannot be delivered has nobody to be told of its delay.
    let report = Expiry {
        notice_after: None,
        ..ordinary
    };
    schedule::Settings {
        intervals: Intervals::new(&retry.intervals),
        workers: WORKERS,
        workers_per_destination: config.limits.connections_per_destination,
        classes: vec![ordinary, report],
    }
}

pub(super) fn rotation_schedule(config: &Config) -> rotation::Schedule {
    rotation::Schedule {
        rotate_every: config.rotate_dkim_every,
        longest_wait: config.retry.expire_after,
    }
}

pub(super) fn feedback_settings(config: &Config) -> feedback::Settings {
    let hostname = config.hostname.to_string();
    let reports = &config.feedback;
    feedback::Settings {
        send: config.dmarc.check && reports.send,
        organization: reports.organization.clone().unwrap_or(hostname.clone()),
        from: reports.from.clone(),
        read_for: reports.read_for.clone(),
        hostname,
    }
}
