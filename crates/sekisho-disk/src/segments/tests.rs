use sekisho_ledger::Batch;
use sekisho_ports::instant;

use super::*;

const DENY: u8 = 1;

fn kept(key: u128, class: u8, text: &str) -> IndexedRecord {
    IndexedRecord { key, class, record: Bytes::from(text.to_owned()) }
}

fn keys(found: &[Found]) -> Vec<u128> {
    found.iter().map(|found| found.kept.key).collect()
}

/// Keys of which each has a prefix of its own.
const fn key(number: u64) -> u128 {
    (number as u128) << 64
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    items.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

#[test]
fn records_are_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    // Late records of another node stand behind newer ones. These keys differ in their last bits only.
    segments.append("a", 7, &[kept(10, 0, "ten"), kept(20, DENY, "twenty")]).unwrap();
    let second = [kept(5, DENY, "five"), kept(15, 0, "fifteen")];
    segments.append("b", 8, &second).unwrap();
    let check = |segments: &Segments| {
        assert_eq!(keys(&segments.newest(None, u128::MAX, 10)), [20, 15, 10, 5]);
        assert_eq!(keys(&segments.newest(None, 20, 2)), [15, 10]);
        assert_eq!(keys(&segments.newest(Some(DENY), u128::MAX, 10)), [20, 5]);
        let (found, place) = segments.find(15, |_| true).unwrap();
        assert_eq!((found.log_index, found.position, place.size), (8, 1, 2));
        place.verify(&found.kept.record, &Batch::of(second.iter().map(|kept| kept.record.as_ref())).root()).unwrap();
        assert_eq!(found.kept.record, "fifteen");
        assert!(segments.find(15, |kept| kept.class == DENY).is_none());
        assert!(segments.find(16, |_| true).is_none());
    };
    check(&segments);
    drop(segments);
    let again = Segments::open(folder.path(), u64::MAX).unwrap();
    check(&again);
    again.append("b", 9, &[kept(key(1), 0, "later")]).unwrap();
    assert_eq!(files(folder.path(), "open").len(), 4, "each reporter and kind goes on in its file");
    assert_eq!(again.find(key(1), |_| true).unwrap().0.log_index, 9);
}

#[test]
fn a_duplicate_key_hides_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.append("a", 1, &[kept(10, DENY, "denied")]).unwrap();
    segments.append("b", 2, &[kept(10, 0, "allowed, says another")]).unwrap();
    // The same batch again, as after a crash.
    segments.append("a", 3, &[kept(10, DENY, "denied")]).unwrap();
    let (found, _) = segments.find(10, |_| true).unwrap();
    assert_eq!((found.log_index, found.kept.record.as_ref()), (1, &b"denied"[..]));
    assert_eq!(keys(&segments.newest(None, u128::MAX, 10)), [10, 10]);
}

#[test]
fn damage_hides_the_rest_of_one_segment() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    for number in 1..=3 {
        segments.append("a", number, &[kept(key(number), 0, "record")]).unwrap();
    }
    drop(segments);
    let path = files(folder.path(), "open").pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = wal::frames(&whole).map(|(_, to, _)| usize::try_from(to).unwrap()).collect();
    std::fs::write(&path, &whole[..ends[2] - 1]).unwrap();
    let listed = |segments: &Segments| keys(&segments.newest(None, u128::MAX, 10));
    assert_eq!(listed(&Segments::open(folder.path(), u64::MAX).unwrap()), [key(2), key(1)]);
    let mut flipped = whole;
    flipped[ends[0] + 20] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(listed(&segments), [key(1)]);
    // Nothing is written behind the damage.
    segments.append("a", 9, &[kept(key(9), 0, "new")]).unwrap();
    drop(segments);
    assert_eq!(listed(&Segments::open(folder.path(), u64::MAX).unwrap()), [key(9), key(1)]);
}

/// What cannot be packed: a generator's numbers.
fn noise(seed: &mut u64, bytes: usize) -> Bytes {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        seed.to_be_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect::<Vec<u8>>().into()
}

#[test]
fn the_oldest_segments_of_a_reporter_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (max_bytes, mut seed) = (32 * 1024 * 1024, 1);
    let segments = Segments::open(folder.path(), max_bytes).unwrap();
    for number in 1..=80 {
        let record = IndexedRecord { key: key(number), class: 0, record: noise(&mut seed, 1024 * 1024) };
        segments.append("a", 0, &[record]).unwrap();
    }
    let listed = keys(&segments.newest(None, u128::MAX, 1000));
    assert_eq!(listed[0], key(80));
    assert!(listed.len() <= 32 && listed.len() > 16, "{}", listed.len());
    let bytes: u64 =
        std::fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= max_bytes + 2 * 1024 * 1024, "{bytes}");
    drop(segments);
    let segments = Segments::open(folder.path(), max_bytes).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 1000)), listed);
    assert!(segments.find(listed[listed.len() - 1], |_| true).is_some());
}

#[test]
fn a_flood_displaces_only_its_own_records() {
    let folder = tempfile::tempdir().unwrap();
    let (max_bytes, mut seed) = (16 * 1024 * 1024, 1);
    let segments = Segments::open(folder.path(), max_bytes).unwrap();
    let mut number = 0;
    let mut append = |reporter: &str, class: u8, bytes: usize, seed: &mut u64| {
        number += 1;
        segments
            .append(reporter, number, &[IndexedRecord { key: key(number), class, record: noise(seed, bytes) }])
            .unwrap();
        key(number)
    };
    let kept: Vec<u128> = ["quiet", "other"]
        .into_iter()
        .flat_map(|name| [(name, 0), (name, DENY)])
        .map(|(name, class)| append(name, class, 200_000, &mut seed))
        .collect();
    // Allows and denials of one node, four times the space of all.
    for round in 0..128 {
        append("loud", 0, 256 * 1024, &mut seed);
        append("loud", DENY, 128 * 1024 * (round % 3), &mut seed);
    }
    for key in &kept {
        assert!(segments.find(*key, |_| true).is_some(), "{key:x} was displaced by another's flood");
    }
    assert!(segments.bytes() <= max_bytes + 2 * 1024 * 1024, "{}", segments.bytes());
    // Its denials were not displaced by its allows: each kind has half.
    let denials = segments.newest(Some(DENY), u128::MAX, 1000).len();
    assert!(denials >= 20, "{denials}");
}

#[test]
fn retention_removes_whole_segments_by_record_time() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    let day = 24 * 3600 * 1000;
    let (week, at) = (Duration::from_secs(7 * 24 * 3600), |day_number: u64| key_at(day_number * day));
    segments.append("a", 1, &[kept(at(100), 0, "first")]).unwrap();
    segments.expire(100 * day, week).unwrap();
    segments.append("a", 2, &[kept(at(101), 0, "a day later")]).unwrap();
    drop(segments);
    // A restart takes nothing of its age.
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.expire(102 * day, week).unwrap();
    segments.append("a", 3, &[kept(at(102), 0, "in another segment")]).unwrap();
    segments.expire(108 * day, week).unwrap();
    assert_eq!(segments.newest(None, u128::MAX, 9).len(), 3);
    segments.expire(108 * day + 1, week).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 9)), [at(102)]);
    segments.expire(110 * day, week).unwrap();
    assert!(segments.newest(None, u128::MAX, 9).is_empty());
}

fn seal_all(segments: &Segments) {
    let mut state = segments.state();
    state.series.iter_mut().for_each(|(id, series)| close(&segments.folder, *id, series).unwrap());
}

#[test]
fn a_copied_segment_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.append("a", 1, &[kept(key(1), 0, "one")]).unwrap();
    let path = files(folder.path(), "open").pop().unwrap();
    let early = std::fs::read(&path).unwrap();
    segments.append("a", 2, &[kept(key(2), 0, "two")]).unwrap();
    seal_all(&segments);
    drop(segments);
    std::fs::write(path, early).unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 9)), [key(2), key(1)]);
    assert!(segments.damaged().is_empty());
    let full = files(folder.path(), "segment").pop().unwrap();
    let mut bytes = std::fs::read(&full).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&full, bytes).unwrap();
    assert_eq!(segments.damaged(), [full]);
}

/// As many as a server takes at once.
const BATCH: u64 = 4000;

/// Batches of small records, in order of time or as a node would send them that wants to be hard to look for: each
/// names a time of its choice.
fn fill(segments: &Segments, batches: u64, is_scattered: bool, text: fn(u128) -> String) -> Vec<u128> {
    let (mut seed, mut sample) = (7u64, vec![]);
    for batch in 0..batches {
        let record = |n: u64| {
            let number = batch * BATCH + n;
            let time = if is_scattered { number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 36 } else { number };
            let random = number.wrapping_mul(0xD134_2543_DE82_EF95) >> 8;
            let key = u128::from(time) << 80 | u128::from(random) << 16 | u128::from(number & 0xffff);
            IndexedRecord { key, class: u8::from(number.is_multiple_of(50)), record: text(key).into() }
        };
        let records: Vec<_> = (0..BATCH).map(record).collect();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        sample.push(records[usize::try_from(seed >> 54).unwrap()].key);
        segments.append(&format!("node {}", batch % 3), batch, &records).unwrap();
    }
    sample
}

#[test]
fn a_record_is_found_in_merged_runs() {
    for is_scattered in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let segments = Segments::open(folder.path(), u64::MAX).unwrap();
        let sample = fill(&segments, 200, is_scattered, |key| format!("record {key:x}"));
        let check = |segments: &Segments, when: &str| {
            let before = segments.blocks_read();
            for key in &sample {
                assert!(segments.find(*key, |_| true).is_some(), "{when}, scattered {is_scattered}: {key:x}");
            }
            let each = (segments.blocks_read() - before) as f64 / sample.len() as f64;
            assert!(each < 16.0, "{when}, scattered {is_scattered}: {each} blocks for each record");
            let listed = keys(&segments.newest(Some(DENY), u128::MAX, 500));
            assert!(listed.len() == 500 && listed.is_sorted_by(|a, b| a > b));
        };
        check(&segments, "running");
        assert!(files(folder.path(), "index").len() < 8, "runs are not merged");
        drop(segments);
        check(&Segments::open(folder.path(), u64::MAX).unwrap(), "restarted");
        // Damage of what can be made again costs a start, and nothing else.
        let mut runs = files(folder.path(), "index");
        let (lost, flipped) = (runs.pop().unwrap(), runs.pop().unwrap());
        std::fs::remove_file(lost).unwrap();
        let mut bytes = std::fs::read(&flipped).unwrap();
        bytes[5000] ^= 1;
        std::fs::write(&flipped, bytes).unwrap();
        check(&Segments::open(folder.path(), u64::MAX).unwrap(), "made again");
    }
}

#[test]
fn an_index_beyond_the_data_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.append("node 0", 0, &[kept(key(1), 0, "first")]).unwrap();
    let early = files(folder.path(), "open").into_iter().map(|path| (std::fs::read(&path).unwrap(), path));
    let early: Vec<_> = early.collect();
    fill(&segments, 20, false, |key| format!("record {key:x}"));
    drop(segments);
    assert!(!files(folder.path(), "index").is_empty());
    // As in a copy whose index is newer than its segments.
    for path in files(folder.path(), "open") {
        std::fs::remove_file(path).unwrap();
    }
    for (bytes, path) in early {
        std::fs::write(path, bytes).unwrap();
    }
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.append("node 0", 1, &[kept(key(2), 0, "second")]).unwrap();
    drop(segments);
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 9)), [key(2), key(1)]);
}

/// As long as a sidecar's allow.
fn allow(key: u128) -> String {
    let (at, random) = (key >> 80, key.wrapping_mul(0x2545_F491_4F6C_DD1D_9E37_79B9_7F4A_7C15));
    let subject = r#"{"claims":{"evidence":"process"},"spiffe_id":"spiffe://example.org/ns/shop/sa/till"}"#;
    let headers = r#"{"host":"ledger.internal","user-agent":"curl/8.5.0"}"#;
    let (destination, path) = ("spiffe://example.org/ns/shop/sa/ledger", format!(r#"["v1","balance","{at}"]"#));
    let request = format!(r#""method":"GET","path":{path},"query":"","request_id":"{random:032x}""#);
    let input = format!(r#"{{"destination":"{destination}","headers":{headers},{request},"subject":{subject}}}"#);
    let rest = r#""kind":"decision","policy_revision":3,"rule":"authz.rego:5""#;
    format!(r#"{{"at_ms":{at},"effect":"allow","id":"dec_{key:032x}","input":{input},{rest}}}"#)
}

/// `cargo test --release -p sekisho-disk -- --ignored --nocapture ten_million`
#[test]
#[ignore = "writes gigabytes; run it to measure"]
fn one_of_ten_million_records_is_found() {
    for is_scattered in [false, true] {
        for millions in [1, 3, 10] {
            let folder = tempfile::tempdir().unwrap();
            let segments = Segments::open(folder.path(), u64::MAX).unwrap();
            let began = instant();
            let sample = fill(&segments, millions * 1_000_000 / BATCH, is_scattered, allow);
            let filled = began.elapsed();
            let before = segments.blocks_read();
            let mut times: Vec<Duration> = sample
                .iter()
                .map(|key| {
                    let began = instant();
                    assert!(segments.find(*key, |_| true).is_some());
                    began.elapsed()
                })
                .collect();
            let each = (segments.blocks_read() - before) as f64 / times.len() as f64;
            times.sort();
            let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
            let (middle, late, worst) = (at(50), at(99), at(100));
            let (bytes, runs) = (segments.bytes() / (1 << 20), files(folder.path(), "index").len());
            eprintln!(
                "{millions} M, scattered {is_scattered}: median {middle:?}, p99 {late:?}, worst {worst:?}, {each:.1} \
                    blocks, {runs} runs, {bytes} MiB, filled in {filled:?}"
            );
            assert!(middle < Duration::from_millis(50));
        }
    }
}
