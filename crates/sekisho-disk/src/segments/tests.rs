use super::*;

const DENY: u8 = 1;

fn kept(key: u128, class: u8, text: &str) -> RecordKept {
    RecordKept { key, class, record: Bytes::from(text.to_owned()) }
}

fn keys(found: &[Found]) -> Vec<u128> {
    found.iter().map(|found| found.kept.key).collect()
}

#[test]
fn records_are_found_by_key_and_listed_newest_first_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    // Late records of another node stand behind newer ones.
    segments.append(7, &[kept(10, 0, "ten"), kept(20, DENY, "twenty")]).unwrap();
    segments.append(8, &[kept(5, DENY, "five"), kept(15, 0, "fifteen")]).unwrap();
    let check = |segments: &Segments| {
        assert_eq!(keys(&segments.newest(None, u128::MAX, 10)), [20, 15, 10, 5]);
        assert_eq!(keys(&segments.newest(None, 20, 2)), [15, 10]);
        assert_eq!(keys(&segments.newest(Some(DENY), u128::MAX, 10)), [20, 5]);
        let (found, batch) = segments.find(15, |_| true).unwrap();
        assert_eq!((found.log_index, found.position, batch.len()), (8, 1, 2));
        assert_eq!(found.kept.record, "fifteen");
        assert!(segments.find(15, |kept| kept.class == DENY).is_none());
        assert!(segments.find(16, |_| true).is_none());
    };
    check(&segments);
    drop(segments);
    check(&Segments::open(folder.path(), u64::MAX).unwrap());
}

#[test]
fn a_record_under_a_key_that_is_taken_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.append(1, &[kept(10, DENY, "denied")]).unwrap();
    segments.append(2, &[kept(10, 0, "allowed, says another")]).unwrap();
    // The same batch again, as after a crash.
    segments.append(3, &[kept(10, DENY, "denied")]).unwrap();
    let (found, _) = segments.find(10, |_| true).unwrap();
    assert_eq!((found.log_index, found.kept.record.as_ref()), (1, &b"denied"[..]));
    assert_eq!(keys(&segments.newest(None, u128::MAX, 10)), [10, 10]);
}

#[test]
fn a_torn_frame_is_cut_and_a_flipped_bit_hides_one_segments_rest_only() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    for key in 1..=3 {
        segments.append(u64::try_from(key).unwrap(), &[kept(key, 0, "record")]).unwrap();
    }
    drop(segments);
    let path = open_path(folder.path(), 0);
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (1..whole.len())
        .filter(|end| wal::payloads(&whole[..*end]).count() < wal::payloads(&whole[..end + 1]).count())
        .map(|end| end + 1)
        .collect();
    std::fs::write(&path, &whole[..ends[2] - 1]).unwrap();
    assert_eq!(keys(&Segments::open(folder.path(), u64::MAX).unwrap().newest(None, u128::MAX, 10)), [2, 1]);
    let mut flipped = whole;
    flipped[ends[0] + 20] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 10)), [1]);
    // Nothing is written behind the damage.
    segments.append(9, &[kept(9, 0, "new")]).unwrap();
    drop(segments);
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 10)), [9, 1]);
}

#[test]
fn the_oldest_segments_go_first_and_full_ones_are_named_after_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), 3 * SEGMENT_BYTES).unwrap();
    // What cannot be packed: a generator's numbers.
    let mut seed = 1u64;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_be_bytes()
    };
    let frames = 5 * SEGMENT_BYTES / (1024 * 1024);
    for key in 1..=u128::from(frames) {
        let record: Vec<u8> = (0..1024 * 1024 / 8).flat_map(|_| noise()).collect();
        segments.append(0, &[RecordKept { key, class: 0, record: record.into() }]).unwrap();
    }
    let listed = keys(&segments.newest(None, u128::MAX, 1000));
    assert_eq!(listed[0], u128::from(frames));
    assert!(listed.len() < 3 * 17 && listed.len() > 16, "{}", listed.len());
    let bytes: u64 =
        std::fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 3 * SEGMENT_BYTES + 2 * 1024 * 1024, "{bytes}");
    drop(segments);
    let segments = Segments::open(folder.path(), 3 * SEGMENT_BYTES).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 1000)), listed);
    assert!(segments.find(listed[listed.len() - 1], |_| true).is_some());
}

#[test]
fn what_is_too_old_goes_by_the_times_of_records_and_not_before_its_segment_does() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    let day = 24 * 3600 * 1000;
    let (week, at) = (Duration::from_secs(7 * 24 * 3600), |day_number: u64| key_at(day_number * day));
    segments.append(1, &[kept(at(100), 0, "first")]).unwrap();
    segments.expire(100 * day, week).unwrap();
    segments.append(2, &[kept(at(101), 0, "a day later")]).unwrap();
    drop(segments);
    // A restart takes nothing of its age.
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.expire(102 * day, week).unwrap();
    segments.append(3, &[kept(at(102), 0, "in another segment")]).unwrap();
    segments.expire(108 * day, week).unwrap();
    assert_eq!(segments.newest(None, u128::MAX, 9).len(), 3);
    segments.expire(108 * day + 1, week).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 9)), [at(102)]);
    segments.expire(110 * day, week).unwrap();
    assert!(segments.newest(None, u128::MAX, 9).is_empty());
}

#[test]
fn a_segment_that_a_copy_holds_twice_is_read_once_and_damage_in_a_full_one_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    segments.append(1, &[kept(1, 0, "one")]).unwrap();
    let early = std::fs::read(open_path(folder.path(), 0)).unwrap();
    segments.append(2, &[kept(2, 0, "two")]).unwrap();
    segments.roll(&mut segments.state()).unwrap();
    drop(segments);
    std::fs::write(open_path(folder.path(), 0), early).unwrap();
    let segments = Segments::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(keys(&segments.newest(None, u128::MAX, 9)), [2, 1]);
    assert!(segments.damaged().is_empty());
    let full = segments.state().sealed[0].path.clone();
    let mut bytes = std::fs::read(&full).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&full, bytes).unwrap();
    assert_eq!(segments.damaged(), [full]);
}
