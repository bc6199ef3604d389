//! `docs/how-to/compose.md` and `docs/how-to/helm.md`: what the files say, without a container engine. A program
//! that stands in for `docker compose` starts their services as processes (`clients/docker`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::how_to::{Shell, cache, missing, path, run_page};
use crate::world::{World, eventually, manifest_folder, program, skipped};

pub(crate) const COMPOSE: &str = "compose.md";
pub(crate) const HELM: &str = "helm.md";

fn deploy(name: &str) -> PathBuf {
    std::fs::canonicalize(manifest_folder().join("../../deploy").join(name)).unwrap()
}

/// A shell with the stand-in, in a network of its own.
fn shell(world: &World, more: &[(&str, &str)]) -> Shell {
    let folders = [manifest_folder().join("clients"), cache("python/bin"), cache("bin")];
    let usual = path();
    let all = folders.into_iter().chain(std::env::split_paths(&usual));
    let path = std::env::join_paths(all).unwrap().into_string().unwrap();
    let program = program("sekisho");
    let more = [more, &[("SEKISHO_PROGRAM", program.to_str().unwrap())]].concat();
    let own = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec bash"];
    Shell::start_in(&own, world, &path, &more)
}

/// By a published or a given schema, where a program here can tell.
pub(crate) fn check_schema(schema: [&str; 2], file: &Path) {
    let program = cache("python/bin/check-jsonschema");
    if !program.is_file() {
        return skipped("check-jsonschema is not here (deploy/setup.sh test)");
    }
    let checked = Command::new(&program).args(schema).arg(file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// Why the stand-in cannot run here.
fn cannot_run() -> Option<String> {
    let python = cache("python/bin/check-jsonschema");
    missing(&["root", "unshare", "setpriv", python.to_str().unwrap()], &path())
}

#[test]
fn composed_services_reach_each_other_by_policy() {
    check_schema(["--builtin-schema", "vendor.compose-spec"], &deploy("compose/compose.yaml"));
    if let Some(why) = cannot_run() {
        return skipped(&why);
    }
    let world = World::nowhere();
    let mut shell = shell(&world, &[("COMPOSE", deploy("compose").to_str().unwrap())]);
    run_page(COMPOSE, &mut shell);
}

#[test]
fn the_chart_sets_variables_of_the_program() {
    let chart = deploy("helm/sekisho");
    for role in ["server", "agent"] {
        let template = std::fs::read_to_string(chart.join(format!("templates/{role}.yaml"))).unwrap();
        let help = Command::new(program("sekisho")).args([role, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let named: BTreeSet<&str> =
            template.split("name: ").filter_map(|rest| rest.split([',', ' ', '}', '\n']).next()).collect();
        let variables: Vec<&&str> = named.iter().filter(|name| name.starts_with("SEKISHO_")).collect();
        assert!(variables.len() > 3, "{variables:?}");
        for variable in variables {
            assert!(help.contains(&format!("{variable}=")), "{role}: {variable}");
        }
    }
    check_schema(["--schemafile", chart.join("values.schema.json").to_str().unwrap()], &chart.join("values.yaml"));
}

#[test]
fn rendered_pods_of_the_chart_run() {
    let path = std::env::join_paths([cache("bin")].into_iter().chain(std::env::split_paths(&path()))).unwrap();
    if let Some(why) = missing(&["helm", "curl"], path.to_str().unwrap()).or_else(cannot_run) {
        return skipped(&format!("{why}; docs/how-to/helm.md says how to have helm"));
    }
    let world = World::nowhere();
    let mut shell = shell(&world, &[("CHART", deploy("helm/sekisho").to_str().unwrap())]);
    run_page(HELM, &mut shell);
    let objects = Objects::read(&shell.folder.join("rendered.yaml"));
    objects.check();
    let probes = objects.start_server(&mut shell);
    for probe in &probes {
        let ask = format!("until curl -sfk https://127.0.0.1:8081{probe} > /dev/null; do sleep 0.1; done");
        shell.run(&ask);
    }
    shell.run("kubectl() { docker compose exec -T sekisho-server /usr/bin/sekisho \"$@\"; }");
    shell.run("kubectl bundle show --form fingerprint | head -1 > fingerprint");
    shell.run("kubectl token create --agent-id node-1 --file /var/lib/sekisho/token > created");
    shell.run("mkdir -p node/etc/sekisho && mv state/token node/etc/sekisho/join-token");
    shell.run("helm template sekisho $CHART --set agent.fingerprint=$(cat fingerprint) > rendered.yaml");
    Objects::read(&shell.folder.join("rendered.yaml")).start_agent(&mut shell);
    shell.run(
        "kubectl entry create --spiffe-id spiffe://example.org/shop --parent-id \
         spiffe://example.org/spire/agent/join_token/node-1 --selector unix:uid:1500 \
         --selector unix:sha256:$(sha256sum < $SEKISHO_PROGRAM | cut -d' ' -f1) > created",
    );
    // As in a pod: its own process IDs, the socket's folder read only.
    let pod = "mount --bind -o ro node/run/sekisho-agent /mnt && exec setpriv --reuid 1500 --regid 1500 --clear-groups \
               $SEKISHO_PROGRAM svid fetch --agent-socket /mnt/agent.sock";
    let ask = format!("unshare --mount --pid --fork --mount-proc sh -c '{pod}' 2> /dev/null");
    let fetched = shell.run(&format!("until {ask} > fetched; do sleep 0.2; done; cat fetched"));
    assert!(fetched.contains("spiffe://example.org/shop"), "{fetched}");
}

/// A folder of a ConfigMap's volume: one rename of `..data` replaces all files.
#[test]
fn a_policy_in_a_config_map_is_followed() {
    let world = World::start();
    let folder = world.path("policy");
    let swap = |version: &str, text: &str| {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("p.rego"), text).unwrap();
        std::os::unix::fs::symlink(version, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let in_force = |word: &str| {
        eventually(word, || world.sekisho(&["policy", "show"]).1.contains(word).then_some(()));
    };
    swap("..first", &crate::world::POLICY.replace("balance", "first"));
    std::os::unix::fs::symlink("..data/p.rego", folder.join("q.rego")).unwrap();
    std::fs::rename(folder.join("q.rego"), folder.join("p.rego")).unwrap();
    in_force("first");
    swap("..second", &crate::world::POLICY.replace("balance", "second"));
    in_force("second");
}

fn yaml(text: &str) -> Vec<Value> {
    use serde_yaml_ng::Deserializer;
    let documents = Deserializer::from_str(text).map(|part| serde::Deserialize::deserialize(part).unwrap());
    documents.filter(|value: &Value| !value.is_null()).collect()
}

/// The objects of the chart.
struct Objects(Vec<Value>);

impl Objects {
    fn read(file: &Path) -> Self {
        Self(yaml(&std::fs::read_to_string(file).unwrap()))
    }

    fn kind(&self, kind: &str) -> &Value {
        self.0.iter().find(|object| object["kind"] == kind).unwrap()
    }

    fn pods(&self) -> [(&Value, &Value); 2] {
        ["StatefulSet", "DaemonSet"].map(|kind| {
            let object = self.kind(kind);
            (object, &object["spec"]["template"]["spec"])
        })
    }

    /// What Kubernetes would refuse, or accept and never run.
    fn check(&self) {
        let known = [
            "v1 ConfigMap",
            "v1 Service",
            "apps/v1 StatefulSet",
            "apps/v1 DaemonSet",
            "networking.k8s.io/v1 NetworkPolicy",
        ];
        for object in &self.0 {
            let kind = format!("{} {}", object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
            assert!(known.contains(&kind.as_str()), "{kind}");
            assert!(object["metadata"]["name"].as_str().unwrap().starts_with("sekisho-"));
        }
        for (object, pod) in self.pods() {
            let (wanted, labels) =
                (&object["spec"]["selector"]["matchLabels"], &object["spec"]["template"]["metadata"]["labels"]);
            assert!(holds(labels, wanted), "{labels} {wanted}");
            assert_eq!(pod["automountServiceAccountToken"], false);
            let container = &pod["containers"][0];
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
            let volumes = names(&pod["volumes"]).chain(names(&object["spec"]["volumeClaimTemplates"]));
            let volumes: BTreeSet<String> = volumes.collect();
            let mounted: BTreeSet<String> = names(&container["volumeMounts"]).collect();
            assert_eq!(volumes, mounted, "each volume is mounted, and each mount has one");
            let variables: Vec<String> = names(&container["env"]).collect();
            assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len(), "{variables:?}");
        }
        let [(stateful, server), (daemon, agent)] = self.pods();
        assert_eq!(server["securityContext"]["runAsNonRoot"], true);
        assert_eq!(server.get("hostPID"), None);
        assert_eq!(agent["hostPID"], true);
        assert_eq!(
            agent["containers"][0]["securityContext"]["capabilities"]["add"],
            json!(["SYS_PTRACE", "DAC_READ_SEARCH"])
        );
        let service = self.kind("Service");
        assert_eq!(stateful["spec"]["serviceName"], service["metadata"]["name"]);
        assert!(holds(&stateful["spec"]["template"]["metadata"]["labels"], &service["spec"]["selector"]));
        assert_eq!(service["spec"]["ports"][0]["targetPort"], server["containers"][0]["ports"][0]["name"]);
        let address = environment(&agent["containers"][0])["SEKISHO_SERVER"].clone();
        let (name, port) = (&service["metadata"]["name"], &service["spec"]["ports"][0]["port"]);
        assert_eq!(address, format!("{}:{port}", name.as_str().unwrap()));
        for policy in self.0.iter().filter(|object| object["kind"] == "NetworkPolicy") {
            let of_it = |object: &&&Value| object["metadata"]["name"] == policy["metadata"]["name"];
            let object = [stateful, daemon].iter().find(of_it).copied().unwrap();
            let selected = &policy["spec"]["podSelector"]["matchLabels"];
            assert!(holds(&object["spec"]["template"]["metadata"]["labels"], selected), "{policy}");
        }
    }

    /// Starts it, and returns the paths of its probes.
    fn start_server(&self, shell: &mut Shell) -> Vec<String> {
        let [(object, pod), _] = self.pods();
        let policy = shell.folder.join("policy");
        std::fs::create_dir(&policy).unwrap();
        for (name, text) in self.kind("ConfigMap")["data"].as_object().unwrap() {
            std::fs::write(policy.join(name), text.as_str().unwrap()).unwrap();
        }
        shell.run("$SEKISHO_PROGRAM policy check policy");
        // The group of the pod has the volume.
        shell.run("install -d -m 2775 -g 65532 state");
        start(shell, object, pod);
        let container = &pod["containers"][0];
        let path = |probe: &str| {
            let get = &container[probe]["httpGet"];
            assert_eq!((&get["scheme"], &get["port"]), (&json!("HTTPS"), &json!("agents")));
            get["path"].as_str().unwrap().to_owned()
        };
        ["startupProbe", "livenessProbe", "readinessProbe"].map(path).to_vec()
    }

    fn start_agent(&self, shell: &mut Shell) {
        let [_, (object, pod)] = self.pods();
        shell.run("mkdir -p node/var/lib/sekisho/agent node/run/sekisho-agent");
        start(shell, object, pod);
    }
}

fn holds(labels: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn names(list: &Value) -> impl Iterator<Item = String> {
    let named = |item: &Value| item["name"].as_str().or_else(|| item["metadata"]["name"].as_str()).unwrap().to_owned();
    list.as_array().into_iter().flatten().map(named)
}

fn environment(container: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let variables = container["env"].as_array().unwrap().iter();
    variables.map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
}

/// Starts a pod's container by the stand-in: a service of a Compose file that says the same.
fn start(shell: &mut Shell, object: &Value, pod: &Value) {
    let container = &pod["containers"][0];
    let security = |name: &str| {
        let own = &container["securityContext"][name];
        if own.is_null() { pod["securityContext"][name].clone() } else { own.clone() }
    };
    let source = |name: &str| {
        let volume = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name);
        match volume {
            Some(volume) if volume.get("hostPath").is_some() => {
                format!("./node{}", volume["hostPath"]["path"].as_str().unwrap())
            }
            Some(_) => "./policy".to_owned(),
            None => "./state".to_owned(),
        }
    };
    let mount = |mount: &Value| {
        let mode = if mount["readOnly"] == true { ":ro" } else { "" };
        format!("{}:{}{mode}", source(mount["name"].as_str().unwrap()), mount["mountPath"].as_str().unwrap())
    };
    let mounts: Vec<String> = container["volumeMounts"].as_array().unwrap().iter().map(mount).collect();
    let service = json!({
        "image": container["image"],
        "command": container["args"],
        "environment": environment(container),
        "user": format!("{}:{}", security("runAsUser"), security("runAsGroup")),
        "cap_drop": container["securityContext"]["capabilities"]["drop"],
        "cap_add": container["securityContext"]["capabilities"].get("add").cloned().unwrap_or_else(|| json!([])),
        "security_opt": ["no-new-privileges:true"],
        "volumes": mounts,
    });
    let file = shell.folder.join("compose.yaml");
    let all = std::fs::read_to_string(&file).unwrap_or_else(|_| r#"{"services": {}}"#.to_owned());
    let mut all: Value = serde_json::from_str(&all).unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    all["services"][name] = service;
    std::fs::write(&file, all.to_string()).unwrap();
    shell.run(&format!("docker compose up -d {name}"));
}
