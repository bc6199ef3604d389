//! `cargo xtask bench [PART…]`: one table, with the limits of this machine in the same run.

#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]

#[path = "../../tests/it/many_entries.rs"]
mod many_entries;
#[path = "../../tests/it/peers.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod peers;
#[path = "../../tests/it/world/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod world;

mod identity;
mod measure;
mod rules;
mod sidecar;
mod streams;
mod transport;

use measure::Table;

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

fn main() {
    // `cargo bench` passes flags of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let [hold, socket] = wanted.as_slice()
        && hold == "hold"
    {
        return runtime.block_on(identity::hold(socket));
    }
    if let [answer, file] = wanted.as_slice()
        && answer == "answer"
    {
        return runtime.block_on(transport::serve(file));
    }
    // For a profiler: `pair http1 'perf …'` runs a command beside an open pair of sidecars.
    if let [pair, protocol, command] = wanted.as_slice()
        && pair == "pair"
    {
        return sidecar::beside(protocol, command);
    }
    let mut table = Table::default();
    let floor = rules::limits(&mut table);
    if wants("decision") {
        rules::decisions(&mut table);
    }
    if wants("ledger") {
        runtime.block_on(rules::ledger(&mut table));
    }
    if wants("issue") {
        runtime.block_on(transport::transport(&mut table));
        runtime.block_on(identity::issue(&mut table, floor));
    }
    if wants("workload") {
        runtime.block_on(identity::workload(&mut table));
    }
    if wants("idle") {
        identity::idle(&mut table);
    }
    if wants("entries") {
        runtime.block_on(identity::entries(&mut table));
    }
    if wants("streams") {
        runtime.block_on(streams::streams(&mut table));
    }
    // It takes minutes: only when it is named.
    if wanted.iter().any(|word| word == "million") {
        runtime.block_on(identity::million(&mut table));
    }
    if wants("sidecar") {
        sidecar::pair(&mut table);
    }
    print!("{table}");
}
