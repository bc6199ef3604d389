use super::*;
use crate::HashAlgorithm::{Sha1, Sha256};

fn spec_id(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 8]);
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (id, size) in algorithms {
        data.extend(id.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(0);
    sha1_event(0, 3, &[0; 20], &data)
}

fn sha1_event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [pcr.to_le_bytes(), kind.to_le_bytes()].concat();
    out.extend(digest);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

fn agile_event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [pcr.to_le_bytes(), kind.to_le_bytes(), 1u32.to_le_bytes()].concat();
    out.extend(0x0bu16.to_le_bytes());
    out.extend(digest);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

const SHA256_ONLY: &[(u16, u16)] = &[(0x0b, 32)];

#[test]
fn a_log_gives_its_pcrs() {
    let log = [spec_id(SHA256_ONLY), agile_event(4, 13, &[9; 32], b"x")].concat();
    let log = EventLog::parse(&log).unwrap();
    let mut wanted = vec![0; 32];
    Sha256.extend(&mut wanted, &[9; 32]);
    assert_eq!(log.replay(Sha256).unwrap()[&4], wanted);
    assert_eq!(log.replay(Sha1), Err(ReplayError::NoDigest("sha1", 0)));
}

#[test]
fn the_startup_locality_begins_pcr_0() {
    let locality = agile_event(0, 3, &[0; 32], b"StartupLocality\0\x03");
    let measured = agile_event(0, 8, &[9; 32], b"");
    let log = [spec_id(SHA256_ONLY), locality.clone(), measured.clone()].concat();
    let mut wanted = [vec![0; 31], vec![3]].concat();
    Sha256.extend(&mut wanted, &[9; 32]);
    assert_eq!(EventLog::parse(&log).unwrap().replay(Sha256).unwrap()[&0], wanted);
    for wrong in [[&locality[..], &locality].concat(), [&measured[..], &locality].concat()] {
        let log = EventLog::parse(&[spec_id(SHA256_ONLY), wrong].concat()).unwrap();
        assert_eq!(log.replay(Sha256), Err(ReplayError::Locality));
    }
}

#[test]
fn unmeasured_data_states_nothing() {
    let action = b"Exit Boot Services Invocation";
    let event = |digest: &[u8]| {
        let log = [spec_id(SHA256_ONLY), agile_event(5, 0x8000_0007, digest, action)].concat();
        BootFacts::of(&EventLog::parse(&log).unwrap(), Sha256).exit_boot_services
    };
    assert!(event(&Sha256.digest([action.as_slice()])));
    assert!(!event(&[0; 32]), "the TPM measured something else");
}

/// `SecureBoot` as firmware measures it.
fn variable(value: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let vendor = hex::decode("61dfe48bca93d211aa0d00e098032b8c").unwrap();
    [vendor.as_slice(), &10u64.to_le_bytes(), &(value.len() as u64).to_le_bytes(), &name, value].concat()
}

#[test]
fn only_the_firmware_s_secure_boot_counts() {
    const VARIABLE: u32 = 0x8000_0001;
    let found = |events: &[(u32, &[u8], &[u8])]| {
        let event =
            |(kind, measured, shown): &(u32, &[u8], &[u8])| agile_event(7, *kind, &Sha256.digest([*measured]), shown);
        let log = [spec_id(SHA256_ONLY), events.iter().flat_map(event).collect()].concat();
        BootFacts::of(&EventLog::parse(&log).unwrap(), Sha256).secure_boot
    };
    let (on, off, absent) = (variable(&[1]), variable(&[0]), variable(&[]));
    for (value, expected) in [(&on, true), (&off, false), (&absent, false)] {
        assert_eq!(found(&[(VARIABLE, value, value), (4, &[0; 4], &[0; 4])]), Some(expected));
    }
    let debug: &[u8] = b"UEFI Debug Mode";
    assert_eq!(found(&[(0x8000_0007, debug, debug), (VARIABLE, &on, &on)]), Some(true));
    // What the system that was booted measures later, whatever it calls what the firmware measured.
    for first in [(VARIABLE, &off[..], &on[..]), (4, &off[..], &[][..]), (VARIABLE, &off[..], &[][..])] {
        assert_eq!(found(&[first, (VARIABLE, &on, &on)]), Some(false), "{first:?}");
    }
    assert_eq!(found(&[(VARIABLE, b"other", &on), (VARIABLE, &on, &on)]), None);
    assert_eq!(found(&[]), None);
}

#[test]
fn a_cut_log_is_refused_inside_an_event() {
    let head = spec_id(SHA256_ONLY);
    let log = [head.clone(), agile_event(4, 13, &[9; 32], b"xyz")].concat();
    for at in 0..log.len() {
        assert_eq!(EventLog::parse(&log[..at]).is_ok(), at == head.len(), "{at} bytes");
    }
}

/// An unprivileged process could make the other parser run out of stack.
#[test]
fn ghsa_hcm6_a_log_of_many_events_ends() {
    let one = agile_event(4, 13, &[9; 32], b"");
    let log = |events: usize| [spec_id(SHA256_ONLY), one.repeat(events)].concat();
    assert_eq!(EventLog::parse(&log(16_384)).unwrap().events.len(), 16_384);
    let refused = EventLog::parse(&log(16_385)).unwrap_err().to_string();
    assert!(refused.contains("more than 16,384 events"), "{refused}");
    // An event in an event is data: nothing of it is read.
    let nested = (0..1000).fold(one.clone(), |inner, _| agile_event(4, 13, &[9; 32], &inner));
    let log = EventLog::parse(&[spec_id(SHA256_ONLY), nested].concat()).unwrap();
    assert_eq!(log.events.len(), 1);
    let long = EventLog::parse(&vec![0; (4 << 20) + 1]).unwrap_err().to_string();
    assert!(long.contains("larger than 4 MiB"), "{long}");
}

#[test]
fn lies_about_digests_are_refused() {
    for algorithms in [&[][..], &[(0x0b, 20)], &[(0x0b, 32), (0x0b, 32)], &[(4, 20); 17]] {
        EventLog::parse(&spec_id(algorithms)).unwrap_err();
    }
    let undeclared = [spec_id(&[(4, 20)]), agile_event(4, 13, &[9; 32], b"")].concat();
    EventLog::parse(&undeclared).unwrap_err();
    EventLog::parse(&[spec_id(SHA256_ONLY), agile_event(24, 13, &[9; 32], b"")].concat()).unwrap_err();
}
