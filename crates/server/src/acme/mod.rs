//! Certificates from an authority that speaks ACME (RFC 8555): asked for when there is none, and
//! renewed when a third of their life is left.
//!
//! One certificate for all names of `[tls.acme]`. The account, the certificate and its key are in
//! the folder `acme` of `data_dir` ([`store`]), and so is when the next attempt may be made: an
//! attempt is written down before it is made, so that no restart, however often, asks an authority
//! more often than [`FLOOR`] after a success, or than the growing waits after failures.
//!
//! What is asked for and how is [`order`]'s, the words over the network are [`https`]'s, and what
//! the authority finds at our addresses is [`challenge`]'s. A new certificate is served at once;
//! until there is one the self-signed one is.
//!
//! Not here: challenges by DNS, so no wildcard names; renewal times that the authority suggests
//! (ARI).

pub mod authority;
pub mod challenge;
pub mod https;
pub mod order;
pub mod store;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use posthaste_world::work::Pool;
use posthaste_world::{Random, Timestamp, World};
use tokio::sync::Notify;

use crate::config::{Acme, CertificateFiles};
use crate::fault::Fault;
use crate::shutdown::Shutdown;
use crate::telemetry::Log;
use crate::tls::certificates::Certificates;
use crate::tls::names::About;
use crate::tls::watch;

use challenge::Answers;
use store::{State, Store};

/// No attempt is made sooner after one that succeeded.
const FLOOR: Duration = Duration::from_secs(3600);
/// The wait after the first failure; each further one doubles it. Authorities permit few failures
/// an hour.
const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(12 * 3600);
/// A reload is a reason to try again at once, but not sooner after the last attempt than this.
const RELOAD_WAIT: Duration = Duration::from_secs(10);
/// The longest sleep: the clock of a machine may jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// The time of one attempt in all.
const ATTEMPT_TIME: Duration = Duration::from_secs(15 * 60);

/// Keeps a certificate from an authority.
pub struct Keeper {
    world: World,
    log: Arc<Log>,
    store: Store,
    answers: Arc<Answers>,
    certificates: Arc<Certificates>,
    wanted: RwLock<Option<Arc<Acme>>>,
    changed: Notify,
}

impl Keeper {
    /// A keeper of what `acme` describes, which serves it through `certificates`.
    #[must_use]
    pub fn new(
        world: &World,
        log: &Arc<Log>,
        store: Store,
        (answers, certificates): (&Arc<Answers>, &Arc<Certificates>),
        acme: Option<&Acme>,
    ) -> Arc<Self> {
        Arc::new(Keeper {
            world: world.clone(),
            log: log.clone(),
            store,
            answers: answers.clone(),
            certificates: certificates.clone(),
            wanted: RwLock::new(acme.map(|a| Arc::new(a.clone()))),
            changed: Notify::new(),
        })
    }

    /// From now on this is wanted. It is a reason to look again, and to try again what failed.
    pub fn want(&self, acme: Option<&Acme>) {
        *self.wanted.write().unwrap_or_else(PoisonError::into_inner) =
            acme.map(|a| Arc::new(a.clone()));
        self.changed.notify_one();
    }

    fn wanted(&self) -> Option<Arc<Acme>> {
        self.wanted
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets and renews the certificate until the server stops.
    pub async fn run(self: Arc<Self>, stop: Shutdown) {
        loop {
            let now = self.world.clock.now();
            let wanted = self.wanted();
            let wait = match &wanted {
                Some(acme) => self.due(acme).since(now).min(LONGEST_SLEEP),
                None => LONGEST_SLEEP,
            };
            if let Some(acme) = wanted.filter(|_| wait.is_zero()) {
                tokio::select! {
                    () = stop.stopping() => return,
                    () = self.attempt(&acme, now) => continue,
                }
            }
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = self.changed.notified() => self.hurry(),
                () = self.world.clock.sleep(wait) => {}
            }
        }
    }

    /// When a certificate is to be asked for.
    fn due(&self, acme: &Acme) -> Timestamp {
        let state = self.store.state(&*self.world.disk);
        let pair = self.store.pair(&*self.world.disk);
        let due = match pair.filter(|about| acme.names.iter().all(|n| about.names.cover(n))) {
            Some(about) => renewal(&about),
            None => Timestamp::EPOCH,
        };
        due.max(state.not_before())
    }

    /// The operator may have mended what failed.
    fn hurry(&self) {
        let mut state = self.store.state(&*self.world.disk);
        if state.failures > 0 {
            let soon = state.attempted() + RELOAD_WAIT;
            state.not_before_s = soon.as_secs().min(state.not_before_s);
            self.keep(&state);
        }
    }

    async fn attempt(&self, acme: &Arc<Acme>, now: Timestamp) {
        let mut state = self.store.state(&*self.world.disk);
        state.begin(now, &*self.world.random);
        if !self.keep(&state) {
            // Without a memory of attempts a restart could make many: then none is made.
            return self.world.clock.sleep(LONGEST_SLEEP).await;
        }
        let issued = tokio::select! {
            issued = order::issue(acme, &self.store, &self.answers, &self.world) => issued,
            () = self.world.clock.sleep(ATTEMPT_TIME) => Err(Fault::new(
                format!("getting a certificate from {}", acme.directory),
                "it took too long",
            )),
        };
        match issued.and_then(|issued| self.store.keep(&issued, &*self.world.disk)) {
            Ok(()) => {
                state.succeeded(self.world.clock.now());
                self.keep(&state);
                self.serve().await;
            }
            Err(fault) => {
                let minutes = state.not_before().since(self.world.clock.now()).as_secs() / 60;
                let fix = format!(
                    "{}; it is tried again in {} minutes, or after a reload",
                    fault.fix,
                    minutes.max(1)
                );
                self.log.fault_of(&fault.fix(fix));
            }
        }
    }

    fn keep(&self, state: &State) -> bool {
        match self.store.keep_state(state, &*self.world.disk) {
            Ok(()) => true,
            Err(fault) => {
                self.log.fault_of(&fault);
                false
            }
        }
    }

    /// The new certificate in the place of whatever was the default.
    async fn serve(&self) {
        let (certificates, disk) = (self.certificates.clone(), self.world.disk.clone());
        let mut files = vec![self.store.files()];
        let others = certificates.served().into_iter().skip(1);
        files.extend(others.map(|served| served.files));
        let exchanging = move || certificates.exchange(&files, &*disk);
        match self.world.work.on(Pool::Disk, exchanging).await {
            Ok(Ok(faults)) => faults.iter().for_each(|f| self.log.fault_of(f)),
            Ok(Err(fault)) => self.log.fault_of(&fault),
            // A panic was logged by the pool; the files are served from the next start.
            Err(_) => return,
        }
        if let Some(served) = self.certificates.served().first() {
            watch::tell(served, &self.log, self.world.clock.now());
        }
    }
}

/// The pair from the authority, when there is one that can be served.
#[must_use]
pub fn served(data_dir: &Path, disk: &dyn posthaste_world::Disk) -> Option<CertificateFiles> {
    let store = Store::of(data_dir);
    store.pair(disk).map(|_| store.files())
}

/// A third of its life before its end.
fn renewal(about: &About) -> Timestamp {
    let life = about.not_after.since(about.not_before);
    about.not_after - life / 3
}

impl State {
    /// An attempt begins: should it be the last that is heard of, it has failed.
    fn begin(&mut self, now: Timestamp, random: &dyn Random) {
        self.failures = self.failures.saturating_add(1);
        self.attempted_s = now.as_secs();
        self.not_before_s = (now + wait(self.failures, random)).as_secs();
    }

    fn succeeded(&mut self, now: Timestamp) {
        self.failures = 0;
        self.not_before_s = (now + FLOOR).as_secs();
    }
}

/// How long to wait after so many failures: three to five quarters of a time that doubles, so that
/// servers that failed together do not come back together.
fn wait(failures: u32, random: &dyn Random) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(0);
    let whole = match doubled {
        0 => LONGEST_WAIT,
        times => FIRST_WAIT.saturating_mul(times).min(LONGEST_WAIT),
    };
    let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    whole * 3 / 4 + Duration::from_millis(random.below(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Randomness without any.
    struct Always(u64);

    impl Random for Always {
        fn fill(&self, bytes: &mut [u8]) {
            let octets = self.0.to_le_bytes();
            bytes
                .iter_mut()
                .zip(octets)
                .for_each(|(to, from)| *to = from);
        }
    }

    #[test]
    fn waits_double_with_a_bound_and_are_spread() {
        let minutes = |failures| wait(failures, &Always(0)).as_secs() * 4 / 3 / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [5, 10, 20, 40]);
        assert_eq!([9, 31, 32, 33, u32::MAX].map(minutes), [720; 5]);
        let whole = Duration::from_secs(300);
        let late = wait(1, &Always(149_999));
        assert!(late > whole && late < whole * 5 / 4);
    }

    #[test]
    fn an_attempt_counts_as_failed_until_it_succeeds() {
        let now = Timestamp::from_secs(1_000_000);
        let mut state = State::default();
        state.begin(now, &Always(0));
        assert_eq!((state.failures, state.attempted()), (1, now));
        assert!(state.not_before() > now);
        state.begin(now, &Always(0));
        assert_eq!(state.failures, 2);
        state.succeeded(now);
        assert_eq!((state.failures, state.not_before()), (0, now + FLOOR));
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let about = About {
            not_before: Timestamp::from_secs(1_000),
            not_after: Timestamp::from_secs(1_900),
            names: crate::tls::names::Names::default(),
            self_issued: false,
        };
        assert_eq!(renewal(&about), Timestamp::from_secs(1_600));
    }
}
