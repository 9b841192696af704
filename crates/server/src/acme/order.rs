//! One certificate: an account, an order, a challenge for each name, and what comes of it
//! (RFC 8555 §7).
//!
//! Every certificate has a key of its own, made here. What an authority says stands in the fault
//! when there is none, together with what to do about it.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus,
};
use posthaste_world::World;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenge::Answers;
use super::https::Https;
use super::store::{Issued, Store};
use crate::config::{Acme, Challenge};
use crate::fault::Fault;
use crate::tls::client::{Connector, Trust};
use crate::tls::roots;

/// The pause between two questions about how an order is getting on.
const PAUSE: Duration = Duration::from_secs(1);
/// Questions about one state of an order: authorities take seconds, sometimes minutes.
const QUESTIONS_MAX: u32 = 300;
/// What an authority says when it does not know an account (any more).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Gets a certificate as `acme` describes it.
///
/// # Errors
/// Why there is none, and what to do.
pub async fn issue(
    acme: &Acme,
    store: &Store,
    answers: &Arc<Answers>,
    world: &World,
) -> Result<Issued, Fault> {
    let issuing = Issuing {
        acme,
        store,
        answers,
        world,
    };
    let issued = issuing.run().await;
    answers.clear();
    issued
}

struct Issuing<'a> {
    acme: &'a Acme,
    store: &'a Store,
    answers: &'a Answers,
    world: &'a World,
}

impl Issuing<'_> {
    async fn run(&self) -> Result<Issued, Fault> {
        let names = self.acme.names.iter().cloned();
        let identifiers: Vec<_> = names.map(Identifier::Dns).collect();
        let account = self.account().await?;
        let order = account.new_order(&NewOrder::new(&identifiers)).await;
        let mut order = order.map_err(|e| {
            if is_unknown(&e) {
                // The next attempt makes a new one.
                self.store.forget_account(&*self.world.disk);
            }
            self.refused(&e)
        })?;
        self.prove(&mut order).await?;
        self.until(&mut order, OrderStatus::Ready).await?;
        let (request, key) = self.request()?;
        if order.state().status != OrderStatus::Valid {
            let finalized = order.finalize_csr(&request).await;
            finalized.map_err(|e| self.refused(&e))?;
            self.until(&mut order, OrderStatus::Valid).await?;
        }
        let certificate = order.certificate().await.map_err(|e| self.refused(&e))?;
        let certificate = certificate.ok_or_else(|| self.fault("it gave no certificate"))?;
        Ok(Issued { certificate, key })
    }

    fn https(&self) -> Result<Https, Fault> {
        let disk = &*self.world.disk;
        let roots = match &self.acme.ca {
            Some(file) => roots::with_file(roots::of_the_system(), file, disk)?,
            None => Arc::new(roots::of_the_system()),
        };
        let clock = self.world.clock.clone();
        let connector = Connector::new(Trust::Verified, roots, None, clock)?;
        Ok(Https::new(self.world, connector))
    }

    /// The account that is kept, or a new one (RFC 8555 §7.3).
    async fn account(&self) -> Result<Account, Fault> {
        let (directory, disk) = (&self.acme.directory, &*self.world.disk);
        let builder = Account::builder_with_http(Box::new(self.https()?));
        if let Some(credentials) = self.store.account(directory, disk) {
            let account = builder.from_credentials(credentials).await;
            return account.map_err(|e| self.refused(&e));
        }
        let contact: Option<String> = self.acme.contact.as_ref().map(|c| format!("mailto:{c}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = builder.create(&new, directory.clone(), None).await;
        let (account, credentials) = made.map_err(|e| self.refused(&e))?;
        self.store.keep_account(directory, credentials, disk)?;
        Ok(account)
    }

    /// Answers a challenge for each name that is not proved yet (RFC 8555 §7.5.1).
    async fn prove(&self, order: &mut Order) -> Result<(), Fault> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|e| self.refused(&e))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let kind = match self.acme.challenge {
                Challenge::Http01 => ChallengeType::Http01,
                Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                let name = self.acme.challenge.name();
                return Err(self
                    .fault(&format!("it does not offer {name}"))
                    .fix("write the other `challenge` in [tls.acme]"));
            };
            let proof = challenge.key_authorization();
            match self.acme.challenge {
                Challenge::Http01 => self.answers.put_file(&challenge.token, proof.as_str()),
                Challenge::TlsAlpn01 => {
                    let name = challenge.identifier().to_string();
                    let digest = proof.digest();
                    let put = self.answers.put_certificate(&name, digest.as_ref());
                    put.map_err(|why| self.fault(&why))?;
                }
            }
            challenge.set_ready().await.map_err(|e| self.refused(&e))?;
        }
        Ok(())
    }

    /// Waits for the order to be `wanted`, or further.
    async fn until(&self, order: &mut Order, wanted: OrderStatus) -> Result<(), Fault> {
        for _ in 0..QUESTIONS_MAX {
            let state = order.refresh().await.map_err(|e| self.refused(&e))?;
            match state.status {
                OrderStatus::Invalid => return Err(self.invalid(order).await),
                OrderStatus::Valid => return Ok(()),
                status if status == wanted => return Ok(()),
                _ => self.world.clock.sleep(PAUSE).await,
            }
        }
        Err(self.fault("its answer did not come in time"))
    }

    /// Why an order came to nothing: what the authority found at a name.
    async fn invalid(&self, order: &mut Order) -> Fault {
        let mut why = String::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let errors = state.challenges.iter().filter_map(|c| c.error.as_ref());
            if let Some(error) = errors.into_iter().next() {
                why = format!("{name}: {error}");
                break;
            }
        }
        if why.is_empty() {
            why = "the order became invalid".to_string();
        }
        let port = self.acme.challenge.port();
        self.fault(&why).fix(format!(
            "port {port} of every name in [tls.acme] must lead from the Internet to its `address`"
        ))
    }

    /// A new key and the request for its certificate, in DER.
    fn request(&self) -> Result<(Vec<u8>, String), Fault> {
        let make = || {
            let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(self.acme.names.clone())?;
            params.distinguished_name = DistinguishedName::new();
            let request = params.serialize_request(&key)?;
            Ok((request.der().to_vec(), key.serialize_pem()))
        };
        make().map_err(|e: rcgen::Error| self.fault(&e.to_string()))
    }

    fn refused(&self, error: &Error) -> Fault {
        let fix = match error {
            Error::Api(_) => "see what it says, and `contact` and `names` of [tls.acme]",
            _ => "see whether this server can reach it, and whether `directory` is right",
        };
        self.fault(&error.to_string()).fix(fix)
    }

    fn fault(&self, cause: &str) -> Fault {
        let doing = format!("getting a certificate from {}", self.acme.directory);
        Fault::new(doing, cause).fix("see docs/guide/tls.md")
    }
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(NO_ACCOUNT))
}
