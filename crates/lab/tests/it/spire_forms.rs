//! Answers in the form that SPIRE's clients know.

use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient};
use sekisho_proto::types;
use sekisho_types::Digest;
use tonic::Code;

use crate::peers::{Attested, attest};
use crate::within::World;

#[tokio::test(start_paused = true)]
async fn creating_an_existing_entry_returns_it() {
    let world = World::start().await;
    let mut registry = EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    let id = |path: &str| Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() });
    let entry = types::Entry {
        spiffe_id: id("/own/twice"),
        parent_id: id("/spire/agent/join_token/x"),
        selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:7".into() }],
        hint: "first".into(),
        ..Default::default()
    };
    let mut create = async |hint: &str, mask: Option<types::EntryMask>| {
        let entry = types::Entry { hint: hint.into(), ..entry.clone() };
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: mask };
        registry.batch_create_entry(request).await.unwrap().into_inner().results.remove(0)
    };
    let first = create("first", None).await.entry.unwrap();
    let second = create("second", None).await;
    assert_eq!(second.status.unwrap().code, Code::AlreadyExists as i32);
    assert_eq!(second.entry.unwrap(), first);
    let masked = create("third", Some(types::EntryMask { hint: true, ..Default::default() })).await.entry.unwrap();
    assert_eq!((masked.id, masked.hint.as_str(), masked.spiffe_id), (first.id, "first", None));
    assert_eq!(world.json(&["entry", "list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_used_token_is_an_invalid_argument() {
    let world = World::start().await;
    let made = world.json(&["token", "create"]).await;
    let token = made["token"].as_str().unwrap().as_bytes();
    attest(&world, "join_token", token).await.map(drop).unwrap();
    let refused = attest(&world, "join_token", token).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    Attested::new(&world).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_accepts_several_printed_fingerprints() {
    let world = World::start().await;
    let shown = world.json(&["bundle", "show"]).await;
    let active = &shown["authorities"][0];
    assert_eq!((active["slot"].as_str(), &active["fingerprint"]), (Some("active"), &shown["fingerprints"][0]));
    let printed = world.text(&["bundle", "show", "--form", "fingerprint"]).await;
    assert_eq!(printed.trim(), active["fingerprint"]);
    let pem = world.text(&["bundle", "show"]).await;
    assert!(pem.starts_with(&format!("# active, SHA-256 {}", printed.trim())), "{pem}");
    assert_eq!(sekisho_net::certificates_from_pem(pem.as_bytes()).len(), 1);
    // As after a rotation that came between the printing and the first contact.
    let (another, token) = (Digest::new([7; 32]).to_string(), world.path("second"));
    world.json(&["token", "create", "--file", token.to_str().unwrap()]).await;
    let joins = ["--join-token-file", token.to_str().unwrap(), "--fingerprint"];
    let stranger = world.try_agent("c", &[&joins[..], &[&another]].concat()).await;
    assert!(stranger.is_err(), "an authority that nobody named");
    let both = format!("{another}\n{}", printed.trim());
    world.try_agent("b", &[&joins[..], &[&both]].concat()).await.unwrap();
}
