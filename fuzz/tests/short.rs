//! The short run: every target, seeds that never change, so that a failure is the same on every machine.

#[test]
fn law_l9_every_parser_survives_bad_bytes() {
    for target in fuzz::all() {
        match fuzz::run(&target, 7, target.short, None) {
            Ok(run) => assert!(run.outcomes > 0, "{} did nothing", target.name),
            Err(failure) => {
                panic!("{}: {} on {:?}", failure.target, failure.message, String::from_utf8_lossy(&failure.input))
            }
        }
    }
}
