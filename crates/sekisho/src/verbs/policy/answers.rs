//! Solutions of a query as a person reads them, and as OPA's JSON.

use sekisho_rego::{Answer, Expression};
use serde_json::{Value, json};

use crate::output::{Column, table};

/// `{"result": […]}`; without a solution, `{}`.
pub(super) fn json(answers: &[Answer]) -> Value {
    if answers.is_empty() {
        return json!({});
    }
    let expression = |found: &Expression| {
        json!({
            "value": as_json(&found.value),
            "text": found.text,
            "location": {"row": found.row, "col": found.column},
        })
    };
    let row = |answer: &Answer| {
        let expressions: Vec<Value> = answer.expressions.iter().map(expression).collect();
        let mut row = json!({"expressions": expressions});
        if let (false, Value::Object(members)) = (answer.bindings.is_empty(), &mut row) {
            let bindings = answer.bindings.iter().map(|(name, value)| (name.to_string(), as_json(value)));
            members.insert("bindings".to_owned(), Value::Object(bindings.collect()));
        }
        row
    };
    json!({"result": answers.iter().map(row).collect::<Vec<_>>()})
}

/// The value of one expression as it is; else a column for each variable, and for each expression with a value.
pub(super) fn text(answers: &[Answer]) -> String {
    let Some(first) = answers.first() else { return "undefined".to_owned() };
    if let ([expression], true, 1) = (first.expressions.as_slice(), first.bindings.is_empty(), answers.len()) {
        return pretty(&expression.value);
    }
    let names = first.bindings.iter().map(|(name, _)| name.to_string());
    let has_values = |at: usize| {
        let mut values = answers.iter().filter_map(|answer| answer.expressions.get(at));
        values.any(|found| found.value != sekisho_rego::value::Value::Bool(true))
    };
    let shown: Vec<usize> = (0..first.expressions.len()).filter(|at| has_values(*at)).collect();
    let texts = shown.iter().filter_map(|at| first.expressions.get(*at)).map(|found| found.text.clone());
    let titles: Vec<String> = names.chain(texts).collect();
    if titles.is_empty() {
        return "true".to_owned();
    }
    let row = |answer: &Answer| {
        let bound = answer.bindings.iter().map(|(_, value)| value.to_string());
        let values = shown.iter().filter_map(|at| answer.expressions.get(*at)).map(|found| found.value.to_string());
        bound.chain(values).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = answers.iter().map(row).collect();
    let cell = |at: usize| move |row: &Vec<String>| row.get(at).cloned().unwrap_or_default();
    let cells: Vec<_> = (0..titles.len()).map(cell).collect();
    let columns = titles.iter().zip(&cells).map(|(title, cell)| {
        let cell: &dyn Fn(&Vec<String>) -> String = cell;
        (title.as_str(), cell)
    });
    table(&rows, &columns.collect::<Vec<Column<'_, Vec<String>>>>())
}

/// A value on several lines, as JSON.
pub(super) fn pretty(value: &sekisho_rego::value::Value) -> String {
    let value = as_json(value);
    serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string())
}

/// A value as JSON.
pub(super) fn as_json(value: &sekisho_rego::value::Value) -> Value {
    let text = value.to_json();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
