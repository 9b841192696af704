//! Keeps an eye on the certificates that are served: renewed files, and how long they are valid.
//!
//! It looks at the files' contents, not at their times: a renewal tool may well exchange a link, or
//! keep the time of what it copies.

use std::sync::Arc;
use std::time::Duration;

use posthaste_world::work::Pool;
use posthaste_world::{Timestamp, World};

use super::certificates::{Certificates, DAYS_WARNED, Served};
use crate::shutdown::Shutdown;
use crate::telemetry::{Event, Log};

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often a certificate that soon expires is spoken of.
const SPEAK_AGAIN: Duration = Duration::from_secs(86_400);
/// Names of a certificate in its record.
const NAMES_TOLD: usize = 20;

/// Serves renewed certificates and tells of those that expire, until the server stops.
pub async fn run(certificates: Arc<Certificates>, world: World, log: Arc<Log>, stop: Shutdown) {
    let mut spoken = world.clock.elapsed();
    loop {
        tokio::select! {
            biased;
            () = stop.stopping() => return,
            () = world.clock.sleep(LOOK_AGAIN) => {}
        }
        let (looked, disk) = (certificates.clone(), world.disk.clone());
        let looking = world
            .work
            .on(Pool::Disk, move || looked.refresh(&*disk))
            .await;
        // A look that panicked is logged by the pool; the next one may go well.
        let Ok(refreshed) = looking else { continue };
        let now = world.clock.now();
        refreshed.faults.iter().for_each(|f| log.fault_of(f));
        refreshed.replaced.iter().for_each(|s| tell(s, &log, now));
        if world.clock.elapsed().saturating_sub(spoken) >= SPEAK_AGAIN {
            spoken = world.clock.elapsed();
            let served = certificates.served();
            let old = served.iter().filter(|s| s.days_left(now) < DAYS_WARNED);
            old.for_each(|s| tell(s, &log, now));
        }
    }
}

/// Records that a certificate is served, and how long it is valid.
pub fn tell(served: &Served, log: &Log, now: Timestamp) {
    let days = served.days_left(now);
    let names = &served.about.names.dns;
    log.emit(&Event::Certificate {
        file: served.files.certificate.path.display().to_string().into(),
        names: names.get(..NAMES_TOLD).unwrap_or(names),
        state: match days {
            ..0 => "expired",
            0..DAYS_WARNED => "expires",
            _ => "valid",
        },
        days,
        until: super::date(served.about.not_after),
    });
}
