//! Cedar: a policy for each rule, and a request that is made before.

use std::cell::RefCell;
use std::str::FromStr;

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use serde_json::json;

use crate::rules::{NOW, Question, cedar};

pub struct Policies {
    policies: PolicySet,
    entities: Entities,
    authorizer: Authorizer,
}

thread_local! {
    static REQUEST: RefCell<Option<(usize, Request)>> = const { RefCell::new(None) };
}

impl Policies {
    pub fn load(count: usize) -> Result<Policies, String> {
        let policies = PolicySet::from_str(&cedar(count)).map_err(|error| error.to_string())?;
        Ok(Policies { policies, entities: Entities::empty(), authorizer: Authorizer::new() })
    }
}

fn request(question: &Question) -> Request {
    let uid = |text: &str| EntityUid::from_str(text).expect("an entity");
    let context = json!({
        "method": "GET", "query": question.query(), "spiffe_id": question.spiffe_id(), "hw_attested": true,
        "now": NOW, "issued_at": NOW - 1_000_000_000
    });
    let context = Context::from_json_value(context, None).expect("a context");
    let (principal, action, resource) = (uid("User::\"a\""), uid("Action::\"call\""), uid("Service::\"b\""));
    Request::new(principal, action, resource, context, None).expect("a request")
}

impl crate::Engine for Policies {
    fn allows(&self, question: &Question) -> bool {
        REQUEST.with_borrow_mut(|kept| {
            if kept.as_ref().is_none_or(|(number, _)| *number != question.number) {
                *kept = Some((question.number, request(question)));
            }
            let request = kept.as_ref().map(|(_, request)| request).expect("it was made");
            self.authorizer.is_authorized(request, &self.policies, &self.entities).decision() == Decision::Allow
        })
    }
}
