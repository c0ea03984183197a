"""The HTTP that huggingface_hub speaks, but for Xet: it takes that road alone unless HF_HUB_DISABLE_XET=1."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TEXTS = (".json", ".md", ".py", ".txt", ".yaml", ".jinja")  # as a .gitattributes has it: anything else is LFS
NAME = re.compile(r"[\w.-]{1,96}")
KINDS = {"tags": list, "datasets": list, "library_name": str, "license": str, "base_model": str, "pipeline_tag": str}


class Handler(BaseHTTPRequestHandler):
    server_hub: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *told: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        fault = self._fault(path)
        if fault is not None and not fault.status:
            hub.seen.append((self.command, path, self.rfile.read(min(fault.after, self._length() // 2))))
            self.close_connection = True
            return self.connection.close()
        body = self._body()
        with hub.lock:
            hub.seen.append((self.command, path, body))
            if fault is not None:
                return self._refuse(fault.status, fault.message, **fault.headers)
            for methods, pattern, action, open_to_all in _ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in methods:
                    if not open_to_all and self._account() is None:
                        return self._refuse(401, "Invalid credentials in Authorization header")
                    return action(self, body, *found.groups())
        return self._refuse(404, f"no such place: {path}")

    def _fault(self, path: str) -> Any:
        with self.server_hub.lock:
            for fault in self.server_hub.faults:
                if fault.times and fault.method == self.command and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(self._length())

    def _length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def _account(self) -> dict[str, Any] | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.server_hub.tokens.get(token)

    def _writes(self, owner: str) -> bool:
        account = self._account() or {}
        access = account["auth"]["accessToken"]
        return access["role"] != "read" and owner in (account["name"], *(each["name"] for each in account["orgs"]))

    def _answer(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, message: str, code: str = "", **headers: str) -> None:
        told = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}) | headers
        self._answer({"error": message}, status, **told)

    def _repository(self, name: str) -> Any:
        found = self.server_hub.repositories.get(name)
        hidden = found is not None and found.private and not (self._account() and self._writes(name.split("/")[0]))
        if found is None or hidden:
            self._refuse(404, "Repository not found", "RepoNotFound")
            return None
        return found

    def whoami(self, body: bytes) -> None:
        self._answer(self._account())

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        owner = asked.get("organization") or self._account()["name"]
        name = f"{owner}/{asked['name']}"
        if not NAME.fullmatch(asked["name"]):
            return self._refuse(400, "Invalid repo name")
        if not self._writes(owner):
            return self._refuse(403, "You don't have the rights to create a model under this namespace")
        if name in self.server_hub.repositories:
            return self._answer(
                {"error": "You already created this model repo", "url": f"{self.server_hub.url}/{name}"}, 409
            )
        self.server_hub.make(name, private=asked.get("visibility") == "private")
        self._answer({"url": f"{self.server_hub.url}/{name}", "name": name})

    def validate(self, body: bytes) -> None:
        """As the hub: what is wrong with the head of a card."""
        content = json.loads(body)["content"]
        head = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        facts = yaml.safe_load(head[1]) if head else None
        errors = [] if isinstance(facts, dict) else ["no metadata"]
        kinds = {
            "tags": list,
            "datasets": list,
            "library_name": str,
            "license": str,
            "base_model": str,
            "pipeline_tag": str,
        }
        errors += [
            f'"{name}" is no {kind.__name__}'
            for name, kind in kinds.items()
            if not isinstance((facts or {}).get(name, kind()), kind)
        ]
        told = {"errors": [{"message": each} for each in errors], "warnings": []}
        self._answer(told, 400 if errors else 200)

    def model(self, body: bytes, name: str) -> None:
        if found := self._repository(name):
            files = [{"rfilename": place} for place in sorted(found.files)]
            self._answer(
                {
                    "id": name,
                    "modelId": name,
                    "sha": found.sha,
                    "private": found.private,
                    "siblings": files,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                }
            )

    def tree(self, body: bytes, name: str) -> None:
        if found := self._repository(name):
            self._answer(
                [
                    {"type": "file", "path": place, "size": len(what), "oid": _git(what)}
                    for place, what in sorted(found.files.items())
                ]
            )

    def preupload(self, body: bytes, name: str) -> None:
        found = self._repository(name)
        if found is None:
            return
        if not self._writes(name.split("/")[0]):
            return self._refuse(403, "You don't have the right to write here")
        told = []
        for asked in json.loads(body)["files"]:
            mode = "regular" if asked["path"].endswith(TEXTS) else "lfs"
            there = found.files.get(asked["path"])
            oid = None if there is None else _git(there) if mode == "regular" else hashlib.sha256(there).hexdigest()
            told.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._answer({"files": told})

    def batch(self, body: bytes, name: str) -> None:
        self._answer({"transfer": "basic", "objects": [self._wanted(each) for each in json.loads(body)["objects"]]})

    def _wanted(self, asked: dict[str, Any]) -> dict[str, Any]:
        hub, oid, size = self.server_hub, asked["oid"], asked["size"]
        if oid in hub.stored:
            return asked
        if size <= hub.part:
            upload = {"href": f"{hub.url}/lfs/{oid}"}
        else:
            count = -(-size // hub.part)
            urls = {str(number): f"{hub.url}/lfs/{oid}/{number}" for number in range(1, count + 1)}
            upload = {"href": f"{hub.url}/lfs/{oid}/complete", "header": {"chunk_size": str(hub.part), **urls}}
        return asked | {"actions": {"upload": upload, "verify": {"href": f"{hub.url}/lfs/{oid}/verify"}}}

    def whole(self, body: bytes, oid: str) -> None:
        self._keep(oid, body)

    def one_part(self, body: bytes, oid: str, number: str) -> None:
        self.server_hub.parts[f"{oid}/{number}"] = body
        self._answer(b"", ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def complete(self, body: bytes, oid: str) -> None:
        numbers = [each["partNumber"] for each in json.loads(body)["parts"]]
        self._keep(oid, b"".join(self.server_hub.parts[f"{oid}/{number}"] for number in numbers))

    def _keep(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            return self._refuse(400, "the content is not that of its sha256")
        self.server_hub.stored[oid] = content
        self._answer({})

    def verify(self, body: bytes, oid: str) -> None:
        asked, there = json.loads(body), self.server_hub.stored.get(oid)
        self._answer({}) if there is not None and len(there) == asked["size"] else self._refuse(404, "not stored")

    def commit(self, body: bytes, name: str) -> None:
        found = self._repository(name)
        if found is None:
            return
        if not self._writes(name.split("/")[0]):
            return self._refuse(403, "You don't have the right to write here")
        changed = dict(found.files)
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.server_hub.stored:
                    return self._refuse(400, f"{value['path']} was never uploaded")
                changed[value["path"]] = self.server_hub.stored[value["oid"]]
            else:
                del changed[value["path"]]
        found.files = changed
        found.commits.append(message)
        place = f"{self.server_hub.url}/{name}/commit/{found.sha}"
        self._answer({"success": True, "commitOid": found.sha, "commitUrl": place})

    def resolve(self, body: bytes, name: str, place: str) -> None:
        found = self._repository(name)
        if found is None:
            return
        if place not in found.files:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        content = found.files[place]
        self._answer(content, ETag=f'"{_git(content)}"', X_Repo_Commit=found.sha)


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami, False),
    ("POST", r"/api/repos/create", Handler.create, False),
    ("POST", r"/api/validate-yaml", Handler.validate, True),
    ("GET", rf"/api/models/{_REPO}(?:/revision/\w+)?", Handler.model, True),
    ("GET", rf"/api/models/{_REPO}/tree/\w+", Handler.tree, True),
    ("POST", rf"/api/models/{_REPO}/preupload/main", Handler.preupload, False),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", Handler.batch, False),
    ("PUT", r"/lfs/(\w+)", Handler.whole, True),  # the address itself is the permission, as with signed ones
    ("PUT", r"/lfs/(\w+)/(\d+)", Handler.one_part, True),
    ("POST", r"/lfs/(\w+)/complete", Handler.complete, True),
    ("POST", r"/lfs/(\w+)/verify", Handler.verify, False),
    ("POST", rf"/api/models/{_REPO}/commit/main", Handler.commit, False),
    (("GET", "HEAD"), rf"/{_REPO}/resolve/\w+/(.+)", Handler.resolve, True),
]


def _git(content: bytes) -> str:
    """The id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
