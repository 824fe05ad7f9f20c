//! The encrypted upstreams: their settings, what their connections share, and what is known of them.

use super::health::Health;
use super::trust::Authorities;
use crate::daemon::upstreams::EndpointSetup;
use hither_connections::{EndpointId, Failure, Input, Limits, Numbering};
use hither_rounds::Server;
use hither_secure::{Clock, Scheme, Shared};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may be idle, however long its server would keep it.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Queries on one connection at the same time, however many its server allows. For DNS over TLS the ids
/// are the bound, for HTTP/2 and QUIC the memory that the crates take.
const TLS_QUERIES_MAX: u32 = 4_096;
const HTTPS_QUERIES_MAX: u32 = 256;
const QUIC_QUERIES_MAX: u32 = 1_024;

/// One encrypted upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub setup: EndpointSetup,
    /// Whether queries wait for the first address of its name.
    is_looking_up: bool,
    /// What its connections share; `None` until it is needed, and while it cannot be made.
    shared: Option<Shared>,
    pub health: Health,
    /// What the latest handshake has shown.
    pub shown: Option<Shown>,
}

/// What a handshake has shown of an upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// The version of TLS.
    pub version: &'static str,
    /// The last second in which the certificate is valid, since 1970.
    pub expires_s: Option<u64>,
}

/// All encrypted upstreams.
#[derive(Debug)]
pub(super) struct Endpoints {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    ids: BTreeMap<Server, EndpointId>,
    next_id: u32,
    authorities: Authorities,
    pub clock: Arc<Clock>,
}

impl Endpoints {
    pub fn new() -> Endpoints {
        Endpoints {
            endpoints: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            authorities: Authorities::default(),
            clock: Arc::new(Clock::new(0)),
        }
    }

    /// Replaces the settings. Returns what the machine has to know. An upstream whose addresses are looked
    /// up keeps those that were found.
    pub fn set(&mut self, setups: Vec<EndpointSetup>) -> Vec<Input<'static>> {
        let changed = self.authorities.forget_changed();
        for endpoint in self.endpoints.values_mut() {
            if changed.contains(&endpoint.setup.policy.roots) {
                endpoint.shared = None;
            }
        }
        let (mut before, mut inputs) = (std::mem::take(&mut self.ids), Vec::new());
        for mut setup in setups {
            let id = before.remove(&setup.server).or_else(|| self.ids.get(&setup.server).copied());
            let id = id.unwrap_or_else(|| self.new_id());
            self.ids.insert(setup.server, id);
            match self.endpoints.get_mut(&id) {
                Some(known) => {
                    if setup.addresses.is_empty() {
                        setup.addresses = std::mem::take(&mut known.setup.addresses);
                    }
                    known.setup = setup;
                }
                None => {
                    let (is_looking_up, health) = (setup.lookup.is_some(), Health::default());
                    let endpoint = Endpoint { setup, is_looking_up, shared: None, health, shown: None };
                    self.endpoints.insert(id, endpoint);
                }
            }
            inputs.extend(self.input(id));
        }
        for id in before.into_values() {
            self.endpoints.remove(&id);
            inputs.push(Input::Forget { id });
        }
        inputs
    }

    /// Sets the addresses that were found for a host. While `is_looking_up`, queries wait for the first one.
    pub fn set_addresses(
        &mut self,
        host: &Name,
        addresses: &[IpAddr],
        is_looking_up: bool,
    ) -> Vec<Input<'static>> {
        let of_host = |endpoint: &Endpoint| endpoint.setup.lookup.as_ref() == Some(host);
        let mut ids = Vec::new();
        for (id, endpoint) in self.endpoints.iter_mut().filter(|(_, endpoint)| of_host(endpoint)) {
            let port = endpoint.setup.server.address.port();
            let found = addresses.iter().map(|address| SocketAddr::new(*address, port));
            (endpoint.setup.addresses, endpoint.is_looking_up) = (found.collect(), is_looking_up);
            ids.push(*id);
        }
        ids.into_iter().filter_map(|id| self.input(id)).collect()
    }

    /// Notes why no address of a host is known.
    pub fn note_no_address(&mut self, host: &Name, why: &str, now: Monotonic) {
        for endpoint in self.endpoints.values_mut() {
            if endpoint.setup.lookup.as_ref() == Some(host) {
                endpoint.health.note_no_address(why.to_owned(), endpoint.setup.named(), now);
            }
        }
    }

    fn new_id(&mut self) -> EndpointId {
        self.next_id = self.next_id.wrapping_add(1);
        EndpointId(self.next_id)
    }

    /// What the machine has to know of an endpoint.
    fn input(&self, id: EndpointId) -> Option<Input<'static>> {
        let Endpoint { setup, is_looking_up, .. } = self.endpoints.get(&id)?;
        let (numbering, streams_max) = match setup.policy.scheme {
            Scheme::Dot => (Numbering::Random, TLS_QUERIES_MAX),
            Scheme::Doh => (Numbering::Ascending, HTTPS_QUERIES_MAX),
            Scheme::Doq => (Numbering::Ascending, QUIC_QUERIES_MAX),
        };
        Some(Input::Endpoint {
            id,
            addresses: setup.addresses.clone(),
            is_looking_up: *is_looking_up,
            numbering,
            limits: Limits { streams_max, idle: IDLE_MAX },
        })
    }

    pub fn id_of(&self, server: &Server) -> Option<EndpointId> {
        self.ids.get(server).copied()
    }

    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }

    pub fn get_mut(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        self.endpoints.get_mut(&id)
    }

    pub fn all(&self, is_it: impl Fn(&Endpoint) -> bool) -> bool {
        self.endpoints.values().all(is_it)
    }

    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// What the connections to an upstream share. The first call may read the authorities from their file.
    ///
    /// # Errors
    /// Why no connection can be made, for operators; empty if the endpoint is gone.
    pub fn shared(&mut self, id: EndpointId) -> Result<&Shared, String> {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return Err(String::new()) };
        if endpoint.shared.is_none() {
            let policy = &endpoint.setup.policy;
            let trust = self.authorities.of(policy).map_err(|error| error.to_string())?;
            let shared = Shared::new(policy.clone(), &trust, Arc::clone(&self.clock));
            endpoint.shared = Some(shared.map_err(|error| error.to_string())?);
        }
        endpoint.shared.as_ref().ok_or_else(String::new)
    }

    /// Makes what connections share, where that has not been done: authorities are best read before a query
    /// needs them. What fails is tried again with each connection.
    pub fn prepare(&mut self, now: Monotonic) {
        for id in self.endpoints.keys().copied().collect::<Vec<_>>() {
            let Err(sentence) = self.shared(id).map(drop) else { continue };
            if let Some(endpoint) = self.endpoints.get_mut(&id) {
                let named = endpoint.setup.named();
                endpoint.health.note_own_problem(sentence, named, now);
                endpoint.health.note_down(Failure::Handshake, named, now);
            }
        }
    }

    /// Forgets the tickets of an upstream.
    pub fn void_tickets(&mut self, id: EndpointId) {
        if let Some(shared) = self.endpoints.get_mut(&id).and_then(|endpoint| endpoint.shared.as_mut()) {
            shared.void_tickets();
        }
    }
}
