# Its client: it asks its own sidecar, once a second.
import time
import urllib.error
import urllib.request


def ask(path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:7001" + path, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return error


while True:
    print("balance", ask("/v1/balance"), "- transactions", ask("/v1/transactions"), flush=True)
    time.sleep(1)
