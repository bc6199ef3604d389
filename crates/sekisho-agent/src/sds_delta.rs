//! What a stream of deltas has subscribed to and was sent.

use std::collections::BTreeMap;

use prost_types::Any;
use sekisho_proto::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

use crate::sds_secrets::{RequestedSecrets, SECRET_TYPE, State, secret, verifies_by_spiffe};

#[derive(Default)]
pub(crate) struct Subscribed {
    asked: RequestedSecrets,
    begun: bool,
    /// The secrets that the client has; `None` for a name that does not exist, which it was sent as removed.
    sent: BTreeMap<String, Option<Any>>,
    number: u64,
}

impl Subscribed {
    pub(crate) const fn asked(&self) -> &RequestedSecrets {
        &self.asked
    }

    /// Takes a request; whether it changes what is asked.
    pub(crate) fn take(&mut self, request: DeltaDiscoveryRequest, most: usize) -> Result<bool, String> {
        let before = self.asked.clone();
        if let Some(node) = &request.node {
            self.asked.by_spiffe = verifies_by_spiffe(node);
        }
        for name in &request.resource_names_unsubscribe {
            self.asked.names.remove(name);
            self.sent.remove(name);
        }
        // A name that is subscribed to again is sent again.
        let again = !request.resource_names_subscribe.is_empty();
        for name in request.resource_names_subscribe {
            self.sent.remove(&name);
            self.asked.names.insert(name);
        }
        if self.asked.names.len() > most {
            return Err(format!("a stream subscribes to at most {most} names"));
        }
        let first = !std::mem::replace(&mut self.begun, true);
        // Only a first request without names asks for everything; to unsubscribe from the last name asks for nothing.
        self.asked.everything |= first && self.asked.names.is_empty();
        Ok(first || again || self.asked != before)
    }

    /// What has changed since the last response; `None` if nothing has.
    pub(crate) fn response(&mut self, state: &State) -> Option<DeltaDiscoveryResponse> {
        let mut names = self.asked.all(state);
        if self.asked.everything {
            // What was sent may be gone.
            names.extend(self.sent.keys().cloned());
        }
        let (mut resources, mut removed_resources) = (vec![], vec![]);
        let version = (self.number + 1).to_string();
        for name in names {
            let now = secret(&name, self.asked.by_spiffe, state);
            if self.sent.get(&name) == Some(&now) {
                continue;
            }
            match &now {
                Some(any) => resources.push(Resource {
                    version: version.clone(),
                    resource: Some(any.clone()),
                    name: name.clone(),
                }),
                None => removed_resources.push(name.clone()),
            }
            self.sent.insert(name, now);
        }
        if resources.is_empty() && removed_resources.is_empty() {
            return None;
        }
        self.number += 1;
        let (system_version_info, type_url) = (version.clone(), SECRET_TYPE.to_owned());
        Some(DeltaDiscoveryResponse { system_version_info, resources, type_url, nonce: version, removed_resources })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sekisho_identity::Bundle;
    use sekisho_types::TrustDomain;

    use super::*;

    #[test]
    fn a_name_is_sent_once_until_it_changes() {
        let state =
            State { bundle: Arc::new(Bundle::empty(TrustDomain::parse("example.org").unwrap())), svids: vec![] };
        let subscribe = |names: &[&str]| DeltaDiscoveryRequest {
            resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        };
        let mut subscribed = Subscribed::default();
        assert_eq!(subscribed.take(subscribe(&["ROOTCA", "default"]), 2), Ok(true));
        let first = subscribed.response(&state).unwrap();
        assert_eq!((first.resources.len(), first.removed_resources), (1, vec!["default".to_owned()]));
        assert_eq!(subscribed.response(&state), None);
        // An acknowledgement asks for nothing.
        assert_eq!(subscribed.take(subscribe(&[]), 2), Ok(false));
        assert_eq!(subscribed.take(subscribe(&["ROOTCA"]), 2), Ok(true));
        assert_eq!(subscribed.response(&state).unwrap().resources.len(), 1);
        assert!(subscribed.take(subscribe(&["a"]), 2).is_err());
        let leave = ["ROOTCA", "default", "a"].map(str::to_owned).to_vec();
        let none = DeltaDiscoveryRequest { resource_names_unsubscribe: leave, ..Default::default() };
        assert_eq!((subscribed.take(none, 2), subscribed.response(&state)), (Ok(true), None));
        let mut all = Subscribed::default();
        assert_eq!(all.take(subscribe(&[]), 2), Ok(true));
        assert_eq!(all.response(&state).unwrap().resources[0].name, "spiffe://example.org");
    }
}
