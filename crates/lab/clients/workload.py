"""What an application written with py-spiffe asks of a Workload API: workload.py SOCKET SECONDS

Prints one line for each answer, and one for each update of the stream during the given time.
"""

import sys
import time

from spiffe import JwtSvid, WorkloadApiClient
from spiffe.workloadapi.errors import ValidateJwtSvidError

socket, seconds = "unix:" + sys.argv[1], float(sys.argv[2])


def say(*words):
    print(*words, flush=True)


with WorkloadApiClient(socket_path=socket, default_timeout=10) as client:
    svid = client.fetch_x509_svid()
    say("x509", svid.spiffe_id, f"{svid.leaf.serial_number:032x}")
    for bundle in client.fetch_x509_bundles().bundles:
        say("bundle", bundle.trust_domain, len(bundle.x509_authorities))
    token = client.fetch_jwt_svid(audience={"ledger"})
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(token.spiffe_id.trust_domain)
    # Once by the agent, once here with the published keys.
    say("jwt", client.validate_jwt_svid(token.token, "ledger").spiffe_id)
    say("offline", JwtSvid.parse_and_validate(token.token, keys, {"ledger"}).spiffe_id)
    try:
        client.validate_jwt_svid(token.token, "another")
        say("accepted a token for another audience")
    except ValidateJwtSvidError:
        say("refused")

    def updated(context):
        say("update", f"{context.default_svid.leaf.serial_number:032x}")

    handler = client.stream_x509_contexts(updated, lambda error: say("error", error), retry_connect=True)
    time.sleep(seconds)
    handler.cancel()
