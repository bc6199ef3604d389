//! The SPIFFE Workload API (SPIFFE_Workload_API.md).

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use sekisho_identity::jwt_keys_to_jwks;
use sekisho_proto::workload as wire;
use sekisho_proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use sekisho_types::SpiffeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::core::Core;
use crate::refusal::Refusal;
use crate::status::outward;
use crate::svid::CachedSvid;
use crate::{issue, jwt_check, records, serving, sole_holder, user_budgets};

pub(crate) struct Service(pub(crate) Arc<Core>);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Messages<wire::X509svidResponse>;
    type FetchX509BundlesStream = Messages<wire::X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<wire::JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<wire::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let message = |core: &Core, held: &[Arc<CachedSvid>]| {
            let bundle = core.server_state.bundle().x509_concatenated();
            let svid = |held: &Arc<CachedSvid>| {
                Some(wire::X509svid {
                    spiffe_id: held.spiffe_id.to_string(),
                    x509_svid: held.chain.concat(),
                    x509_svid_key: held.deliverable_key()?.expose().clone(),
                    bundle: bundle.clone(),
                    hint: held.hint.clone(),
                })
            };
            let svids = unique_hints(held).filter_map(svid).collect();
            wire::X509svidResponse { svids, crl: vec![], federated_bundles: HashMap::new() }
        };
        self.stream(Caller::of(&request)?, true, message)
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<wire::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let message = |core: &Core, _: &[Arc<CachedSvid>]| {
            let bundle = core.server_state.bundle();
            let bundles = HashMap::from([(bundle.trust_domain.id().to_string(), bundle.x509_concatenated())]);
            wire::X509BundlesResponse { crl: vec![], bundles }
        };
        self.stream(Caller::of(&request)?, false, message)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let message = |core: &Core, _: &[Arc<CachedSvid>]| {
            let bundle = core.server_state.bundle();
            let keys = jwt_keys_to_jwks(&bundle).to_string().into_bytes();
            wire::JwtBundlesResponse { bundles: HashMap::from([(bundle.trust_domain.id().to_string(), keys)]) }
        };
        self.stream(Caller::of(&request)?, false, message)
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        if request.audience.is_empty() {
            return Err(Status::invalid_argument("`audience` is missing"));
        }
        let wanted = match request.spiffe_id.as_str() {
            "" => None,
            text => Some(SpiffeId::parse(text).map_err(|e| Status::invalid_argument(format!("`spiffe_id`: {e}")))?),
        };
        let (entries, measured, at) = serving::entitled(&self.0, &caller).await?;
        let entries = entries.into_iter().filter(|entry| wanted.as_ref().is_none_or(|id| *id == entry.spiffe_id));
        let (entries, stay) = serving::deliverable(entries.collect())?;
        serving::log_stay(&stay, measured.pid);
        let mut svids = Vec::new();
        for entry in entries {
            self.0.limits.user_budgets.token(
                measured.uid,
                user_budgets::token_size(&entry, &request.audience, &measured.selectors),
                at,
            )?;
            let svid = issue::jwt(&self.0, &entry, &request.audience, &measured, at).await.map_err(outward)?;
            svids.push(wire::Jwtsvid {
                spiffe_id: entry.spiffe_id.to_string(),
                svid: svid.token,
                hint: entry.hint.clone(),
            });
        }
        if svids.is_empty() {
            return Err(Refusal::NoSuchId.into());
        }
        sole_holder::check(&self.0.host, &caller).await?;
        self.0.host.still_measured(&caller, |caller| &caller.process, &measured).await?;
        Ok(Response::new(wire::JwtsvidResponse { svids }))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        Caller::of(&request)?;
        let request = request.into_inner();
        if request.audience.is_empty() || request.svid.is_empty() {
            return Err(Status::invalid_argument("`audience` and `svid` are both needed"));
        }
        let svid = jwt_check::check(&self.0, &request.svid, &request.audience).await?;
        let fields: BTreeMap<String, prost_types::Value> =
            svid.claims.iter().map(|(k, v)| (k.clone(), to_prost(v))).collect();
        let claims = Some(prost_types::Struct { fields });
        Ok(Response::new(wire::ValidateJwtsvidResponse { spiffe_id: svid.subject.to_string(), claims }))
    }
}

impl Service {
    /// A stream of complete states: at once, and after each rotation or change of what the process may have.
    fn stream<T: PartialEq + Send + 'static>(
        &self,
        caller: Arc<Caller>,
        with_svids: bool,
        message: impl Fn(&Core, &[Arc<CachedSvid>]) -> T + Send + Sync + 'static,
    ) -> Result<Response<Messages<T>>, Status> {
        let guard = self.0.limits.streams.open(caller.process.pid())?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            // A channel has space for 32 messages, whatever its bound.
            let message = move |core: &Core, held: &[Arc<CachedSvid>]| Box::new(message(core, held));
            if let Err(refusal) = serving::feed(&core, &caller, with_svids, message, &to).await {
                let status = records::recorded(&core, &caller, "Workload API stream", outward(refusal)).await;
                let _gone = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(messages).map(|sent| sent.map(|message| *message)).boxed()))
    }
}

/// A client that sees a hint twice keeps the first (clause 5.2.1), so a later one is sent without.
fn unique_hints(held: &[Arc<CachedSvid>]) -> impl Iterator<Item = &Arc<CachedSvid>> {
    let repeats = |at: usize, svid: &CachedSvid| {
        !svid.hint.is_empty() && held.iter().take(at).any(|earlier| earlier.hint == svid.hint)
    };
    held.iter().enumerate().filter(move |(at, svid)| !repeats(*at, svid)).map(|(_, svid)| svid)
}

fn to_prost(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_prost).collect() }),
        Json::Object(members) => {
            let fields = members.iter().map(|(name, value)| (name.clone(), to_prost(value))).collect();
            Kind::StructValue(prost_types::Struct { fields })
        }
    };
    prost_types::Value { kind: Some(kind) }
}
