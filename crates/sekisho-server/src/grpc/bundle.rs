use sekisho_proto::spire::bundle::v1 as wire;
use sekisho_proto::{bundle_to_wire, types};
use sekisho_types::TrustDomain;
use tonic::{Request, Response, Status};

use super::admission::call;
use crate::queries::TrustBundle;

pub(crate) struct Service;

#[tonic::async_trait]
impl wire::bundle_server::Bundle for Service {
    async fn get_bundle(&self, request: Request<wire::GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let own = call::<(), _>(&request)?.ask(TrustBundle).await;
        let mut bundle = bundle_to_wire(&own);
        if let Some(mask) = request.into_inner().output_mask {
            if !mask.x509_authorities {
                bundle.x509_authorities.clear();
            }
            if !mask.jwt_authorities {
                bundle.jwt_authorities.clear();
            }
            bundle.refresh_hint = if mask.refresh_hint { bundle.refresh_hint } else { 0 };
            bundle.sequence_number = if mask.sequence_number { bundle.sequence_number } else { 0 };
        }
        Ok(Response::new(bundle))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<wire::GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let own = call::<(), _>(&request)?.ask(TrustBundle).await;
        let name = TrustDomain::parse(&request.into_inner().trust_domain)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        if name == own.trust_domain {
            return Err(Status::invalid_argument("that is this server's own trust domain; use GetBundle"));
        }
        Err(Status::not_found(format!("no bundle of trust domain `{name}` is held here")))
    }
}
