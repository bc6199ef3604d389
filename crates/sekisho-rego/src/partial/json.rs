//! Residuals as the JSON that OPA's Compile API answers with.

use super::residual::Residual;
use crate::builtins::{body_json, module_json};
use crate::syntax::{Options, parse_module, parse_query};
use crate::value::{Object, Value};

impl Residual {
    /// The `result` of OPA's Compile API: `queries`, absent where the query never holds, and `support`, absent where
    /// there is none.
    ///
    /// # Errors
    /// Where the residual is too large for it, or not accepted, which is a fault of this engine.
    pub fn to_opa(&self, modules: &[crate::syntax::ast::Module]) -> Result<Value, String> {
        let refused = |errors: Vec<crate::syntax::error::Error>| {
            errors.iter().map(crate::syntax::error::Error::render).collect::<Vec<_>>().join("\n")
        };
        let mut queries = Vec::new();
        for (body, text) in self.bodies().iter().zip(self.queries()) {
            queries.push(match body.is_empty() {
                true => Value::from(Vec::new()),
                false => {
                    let body = parse_query("residual", &text, Options::default()).map_err(refused)?;
                    body_json(&body).map_err(|error| error.message)?
                }
            });
        }
        let mut support = Vec::new();
        for (name, text) in self.modules() {
            let module = parse_module(&name, &text, Options::default()).map_err(refused)?;
            support.push(module_json(&module).map_err(|error| error.message)?);
        }
        if self.reads_modules() {
            for module in modules {
                support.push(module_json(module).map_err(|error| error.message)?);
            }
        }
        let mut result = Vec::new();
        if !queries.is_empty() {
            result.push((Value::from("queries"), Value::from(queries)));
        }
        if !support.is_empty() {
            result.push((Value::from("support"), Value::from(support)));
        }
        Ok(Value::Object(Object::from_vec(result)))
    }
}
