//! The SPIFFE Workload API (SPIFFE_Workload_API.md).

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sekisho_host::Measurement;
use sekisho_identity::{Entry, jwt_keys_to_jwks};
use sekisho_net::on_record;
use sekisho_proto::workload as wire;
use sekisho_proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use sekisho_runtime::now;
use sekisho_types::{SpiffeId, UnixTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use crate::caller::{Caller, ended, still_measured};
use crate::core::{Core, HeldSvid};
use crate::{issue, jwt_check, records, shares, sole_holder};

pub(crate) struct Service(pub(crate) Arc<Core>);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// After a failed issuance a stream tries again this late.
const RETRY: Duration = Duration::from_secs(3);

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Messages<wire::X509svidResponse>;
    type FetchX509BundlesStream = Messages<wire::X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<wire::JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<wire::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let message = |core: &Core, held: &[Arc<HeldSvid>]| {
            let bundle = core.bundle().x509_concatenated();
            let svid = |held: &Arc<HeldSvid>| wire::X509svid {
                spiffe_id: held.spiffe_id.to_string(),
                x509_svid: held.identity.chain.concat(),
                x509_svid_key: held.identity.key.expose().clone(),
                bundle: bundle.clone(),
                hint: held.hint.clone(),
            };
            let svids = unique_hints(held).map(svid).collect();
            wire::X509svidResponse { svids, crl: vec![], federated_bundles: HashMap::new() }
        };
        self.stream(Caller::of(&request)?, true, message)
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<wire::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let message = |core: &Core, _: &[Arc<HeldSvid>]| {
            let bundle = core.bundle();
            let bundles = HashMap::from([(bundle.trust_domain.id().to_string(), bundle.x509_concatenated())]);
            wire::X509BundlesResponse { crl: vec![], bundles }
        };
        self.stream(Caller::of(&request)?, false, message)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let message = |core: &Core, _: &[Arc<HeldSvid>]| {
            let bundle = core.bundle();
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
        let (entries, measured, at) = entitled(&self.0, &caller).await?;
        let entries = entries.into_iter().filter(|entry| wanted.as_ref().is_none_or(|id| *id == entry.spiffe_id));
        let mut svids = Vec::new();
        for entry in entries {
            self.0.shares.token(
                measured.uid,
                shares::token_size(&entry, &request.audience, &measured.selectors),
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
            return Err(Status::permission_denied("no identity issued: this process has no such SPIFFE ID"));
        }
        sole_holder::check(&self.0, &caller).await?;
        still_measured(&self.0, &caller, |caller| &caller.process, &measured).await?;
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
        message: impl Fn(&Core, &[Arc<HeldSvid>]) -> T + Send + 'static,
    ) -> Result<Response<Messages<T>>, Status> {
        let guard = self.0.open_stream(caller.process.pid());
        let guard =
            guard.ok_or_else(|| Status::resource_exhausted("this process has 1024 streams open; close some"))?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            if let Err(status) = feed(&core, &caller, with_svids, message, &to).await {
                let status = records::recorded(&core, &caller, "Workload API stream", status).await;
                let _gone = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }
}

async fn feed<T: PartialEq>(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    with_svids: bool,
    message: impl Fn(&Core, &[Arc<HeldSvid>]) -> T,
    to: &mpsc::Sender<Result<T, Status>>,
) -> Result<(), Status> {
    let mut changes = core.changes();
    let mut said: Option<Vec<(u64, UnixTime)>> = None;
    let mut bundle_said = None;
    loop {
        changes.mark_unchanged();
        // Measured on each round, so that exec, another uid or the end of the process is noticed (law L11).
        let (entries, measured, at) = entitled(core, caller).await?;
        let held = if with_svids { svids(core, &entries, &measured, at).await } else { Ok(vec![]) };
        let wait = match held {
            Ok(held) => {
                let state: Vec<_> = held.iter().map(|svid| (svid.log_index, svid.not_after)).collect();
                let bundle = core.bundle();
                if said.as_ref() != Some(&state) || bundle_said.as_ref() != Some(&bundle) {
                    // Only now: while an SVID is issued, the connection can change hands.
                    if with_svids {
                        sole_holder::check(core, caller).await?;
                    }
                    still_measured(core, caller, |caller| &caller.process, &measured).await?;
                    if to.send(Ok(message(core, &held))).await.is_err() {
                        return Ok(());
                    }
                    (said, bundle_said) = (Some(state), Some(bundle));
                }
                held.iter().map(|svid| until(svid.renew_at)).min().unwrap_or(Duration::from_secs(3600))
            }
            // With something said, an outage is no reason to end the stream.
            Err(status) if said.is_some() && !issue::is_refusal(&status) => RETRY,
            Err(status) => return Err(outward(status)),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            heard = changes.changed() => if heard.is_err() { return Ok(()) },
            () = caller.process.ended() => return Err(ended("the process has ended")),
            () = to.closed() => return Ok(()),
        }
    }
}

fn until(at: UnixTime) -> Duration {
    let millis = at.millis().saturating_sub(now().millis());
    // A held SVID whose renewal failed is due at once; it is tried again only every so often.
    u64::try_from(millis).ok().filter(|ms| *ms > 0).map_or(RETRY, Duration::from_millis)
}

/// The entries that the caller matches; none is a refusal that goes to the log.
pub(crate) async fn entitled(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
) -> Result<(Vec<Arc<Entry>>, Measurement, UnixTime), Status> {
    let (measured, at) = caller.measure(core).await?;
    let entries = core.matches(&measured.selectors, at);
    if entries.is_empty() {
        return Err(records::no_identity(core, &measured).await);
    }
    Ok((entries, measured, at))
}

async fn svids(
    core: &Arc<Core>,
    entries: &[Arc<Entry>],
    measured: &Measurement,
    at: UnixTime,
) -> Result<Vec<Arc<HeldSvid>>, Status> {
    let all = entries.iter().map(|entry| issue::x509(core, entry, measured, at));
    futures_util::future::join_all(all).await.into_iter().collect()
}

/// A client that sees a hint twice keeps the first (clause 5.2.1), so a later one is sent without.
fn unique_hints(held: &[Arc<HeldSvid>]) -> impl Iterator<Item = &Arc<HeldSvid>> {
    let repeats = |at: usize, svid: &HeldSvid| {
        !svid.hint.is_empty() && held.iter().take(at).any(|earlier| earlier.hint == svid.hint)
    };
    held.iter().enumerate().filter(move |(at, svid)| !repeats(*at, svid)).map(|(_, svid)| svid)
}

/// What a workload hears of a failure: the codes of SPIFFE_Workload_API.md §4, without the server's inside.
fn outward(status: Status) -> Status {
    match status.code() {
        // The server has it in its log.
        Code::PermissionDenied | Code::NotFound => {
            on_record(Status::permission_denied("no identity issued: the server refused"), None)
        }
        Code::InvalidArgument => on_record(status, None),
        // Either this user's share is used up, or the node's: each says which.
        Code::ResourceExhausted => status,
        _ => Status::unavailable("the server cannot be reached and nothing valid is held; try again"),
    }
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
