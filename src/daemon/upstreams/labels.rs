//! How operators know an upstream: by its address, or as the configuration or the system names it.

use crate::daemon::upstreams::EndpointSetup;
use hither_rounds::Server;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Encrypted upstreams as the configuration or the system names them. Others are shown by their address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(Rc<BTreeMap<Server, String>>);

impl Labels {
    pub fn new(setups: &[EndpointSetup]) -> Labels {
        Labels(Rc::new(setups.iter().map(|setup| (setup.server, setup.label.clone())).collect()))
    }

    /// The upstream, for operators.
    pub fn of(&self, server: &Server) -> String {
        self.0.get(server).cloned().unwrap_or_else(|| server.to_string())
    }
}
