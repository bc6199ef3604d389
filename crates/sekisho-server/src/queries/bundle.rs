use std::sync::Arc;

use sekisho_identity::Bundle;
use sekisho_store::AuthorityRecord;

use crate::caller::Operator;
use crate::change::Facts;
use crate::domain::Shared;
use crate::query::{Query, ViewQuery};

/// What verifies identities of this trust domain: anyone may have it.
pub(crate) struct TrustBundle;

impl ViewQuery for TrustBundle {
    type Caller = ();
    type Reply = Arc<Bundle>;

    fn see(self, of: Facts<'_>, _: &()) -> Arc<Bundle> {
        of.view.read(|state| state.bundle.clone())
    }
}

/// The bundle, and the authorities behind it.
pub(crate) struct ShowBundle;

impl Query for ShowBundle {
    type Caller = Operator;
    type Reply = (Arc<Bundle>, Vec<AuthorityRecord>);

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        (of.view.read(|state| state.bundle.clone()), of.identity.authorities.all())
    }
}
