"""Speaks what `deploy/demo/browser.py` needs of the DevTools protocol on file descriptors 3 and 4; has one page.

Started with what it is to be: `quick`, `dribbling` (a byte at a time), `silent` after its page is open, `dying` when it
goes somewhere, `lost` (whatever it goes to, nobody answers there), `busy` (with frames and events of no interest).
Ends with its input, as chromium does.
"""

import base64
import json
import os
import sys
from pathlib import Path

MANNER = sys.argv[1]
PROFILE = Path(next(word for word in sys.argv if word.startswith("--user-data-dir=")).partition("=")[2])
FRAME = "page-1"


def send(message: dict[str, object]) -> None:
    data = json.dumps(message).encode() + b"\0"
    step = 1 if MANNER == "dribbling" else len(data)
    for at in range(0, len(data), step):
        os.write(4, data[at : at + step])


def document(status: int, frame: str = FRAME, request: str = "r1", kind: str = "Document") -> None:
    answer = {"type": kind, "frameId": frame, "requestId": request, "response": {"status": status}}
    send({"method": "Network.responseReceived", "params": answer})


def evaluate(expression: str) -> dict[str, object]:
    if "#missing" in expression:
        return {"exceptionDetails": {"text": "Uncaught", "exception": {"description": "Error: no #missing\n at 1"}}}
    values = {"location.href": "http://site/", "document.title": "Title"}
    if "element.value" in expression:
        return {"result": {"value": "typed" if "#field" in expression else "something else"}}
    if "element.click()" in expression:
        arrive()
    return {"result": {"value": values.get(expression)}}


def arrive() -> None:
    if MANNER == "busy":
        send({"method": "Network.requestWillBeSent", "params": {"requestId": "r1"}})
        document(404, frame="advertisement", request="r0")
        document(500, request="r0", kind="Script")
    document(200)
    send({"method": "Page.loadEventFired", "params": {}})
    if MANNER == "busy":
        document(404, frame="advertisement", request="r0")


def answer(method: str, parameters: dict[str, str]) -> dict[str, object]:
    match method:
        case "Target.getTargets":
            others = [{"targetId": "worker", "type": "service_worker"}] if MANNER == "busy" else []
            return {"targetInfos": [*others, {"targetId": FRAME, "type": "page"}]}
        case "Target.attachToTarget":
            return {"sessionId": f"session of {parameters['targetId']}"}
        case "Page.navigate" if MANNER == "lost":
            return {"errorText": "net::ERR_CONNECTION_REFUSED"}
        case "Page.navigate" if MANNER == "dying":
            sys.exit()
        case "Page.navigate":
            arrive()
        case "Network.getResponseBody":
            assert parameters["requestId"] == "r1"
            return {"body": base64.b64encode("<p>größer</p>".encode()).decode(), "base64Encoded": True}
        case "Runtime.evaluate":
            return evaluate(parameters["expression"])
        case "Page.captureScreenshot":
            return {"data": base64.b64encode(b"picture").decode()}
    return {}


def main() -> None:
    (PROFILE / "pid").write_text(str(os.getpid()))
    unread = b""
    while data := os.read(3, 4096):
        unread += data
        while b"\0" in unread:
            line, _, unread = unread.partition(b"\0")
            message = json.loads(line)
            method = message["method"]
            if method.startswith(("Page", "Network", "Runtime")):
                assert message["sessionId"] == f"session of {FRAME}"
            if MANNER == "silent" and not method.startswith("Target") and not method.endswith("enable"):
                continue
            if method == "Page.captureScreenshot" and MANNER == "busy":
                send({"id": message["id"], "error": {"code": -32000, "message": "Not now"}})
                continue
            send({"id": message["id"], "result": answer(method, message["params"])})


if __name__ == "__main__":
    main()
