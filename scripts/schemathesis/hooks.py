# What schemathesis has to know of Spawnpoint beyond its description; loaded by scripts/schemathesis.sh.
#
# Three things. (1) A world: generated names hit nothing, so most cases are pointed at an application, a version, a deployment
# that exist, made for the case where the case ends or changes them. (2) Rules that a schema cannot say ("at most twice the
# CPU units"): a request that fits its schema and breaks one of these may be refused, and only these: RULES, each with its
# reason. (3) Two checks of our own: every error has a message; no answer holds a secret of the server.
# SPDX-License-Identifier: Apache-2.0

import atexit
import hashlib
import hmac
import itertools
import json
import os
import random
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import AllowHeaderMismatch, RejectedPositiveData

URL = os.environ["SPAWNPOINT_TEST_URL"]
TOKEN = os.environ["SPAWNPOINT_ADMIN_TOKEN"]
MASTER = bytes.fromhex(os.environ["SPAWNPOINT_TEST_MASTER_KEY"])

# ---- rules beyond schemas ----------------------------------------------------------------------------------------------

# (operation, status, what the message says, why the schema does not say it). Each part of a message has to match one.
DEPLOY = r"POST /v1/deploy$|POST /deployments$|POST /private-fleets[/:]deploy"
RULES = [
    (r"GET /v1/status/", 400, r"Bad Request ID provided", "an unknown id is 400 here and not 404, as on the live platform"),
    (DEPLOY + r"|:available$", 400, r"(app_version|version(_name)?|application|app_name): .*(has no version|no application|not active)",
     "the application and version must exist"),
    (r"GET /v1/locations$", 400, r"(app|version): .*(has no version|no application|is missing)", "the application and version must exist"),
    (r"POST /v1/telemetry/", 422, r"none of these deployments is there", "one of the deployments must exist"),
    (DEPLOY, 422, r".*", "no host has room, or none has the image that is asked for"),
    (r"/private-fleets[/:]deploy", 400, r"private_host_ids: none of these hosts exists", "one of the hosts must exist"),
    (r"/private-fleets/", 400, r"fleet-name: there is no private fleet", "an unknown fleet is 400 here and not 404, as published"),
    (r"/uncordon$", 409, r"the time of its deletion is over", "a host that was given up is kept first"),
    (r"POST /spawnpoint/v1/hosts$", 400, r"site: there is no site|private_fleet: there is no private fleet", "the site and the fleet must exist"),
    (r"POST /spawnpoint/v1/hosts$", 400, r"public_address: (must be an address|.* is no address)", "addresses have a grammar"),
    (r"POST /spawnpoint/v1/hosts$", 400, r"port_range: ", "a range has a first and a last port"),
    (r"POST /spawnpoint/v1/hosts$", 400, r"endpoint: ", "only engines that the configuration allows"),
    (r"POST /spawnpoint/v1/hosts$", 400, r"beacon\.\w+: ", "a beacon has a port, and its name a grammar"),
    (r"POST /spawnpoint/v1/(hosts|private-fleets)$", 409, r".*(already|the most possible)", "names are unique, and there are so many at most"),
    (r"/delete-schedule$", 400, r"scheduled_at: must not be more than ten years ahead", "a bound that moves with the clock"),
    (r"POST /v1/deploy$", 400, r"ip_list: or geo_ip_list or location is needed|(geo_)?ip_list: must not be empty",
     "one of three fields is needed"),
    (r"", 400, r"(environment_variables|env_vars|envs)\[\d+\]\.key: .* is given twice", "keys are unique once they are cleaned"),
    (r"", 400, r"(environment_variables|env_vars|envs): must have at most \d+ bytes in all", "bytes, not characters"),
    (r"", 400, r"(sessions\[\d+\]\.)?(webhook\w*(\.url)?|webhook_url): must be an http or https address with a host", "addresses have a grammar"),
    (DEPLOY + "|/v1/telemetry/", 400, r"webhook\w*(\.url)?: its address is not one that may be called from here",
     "addresses that are never called, whatever they look like"),
    (r"", 400, r"(req_memory|resources\.memory_mib|memory_mib): must be \d+ to \d+ MiB \(at most twice the CPU units\)",
     "two fields together"),
    (r"", 400, r"ports(\[\d+\](\.\w+)?)?: .*", "ports must not clash; TLS and the number 0 have conditions"),
    (r"/fleet", 400, r"(data(\.\w+)?|maximum|minimum|threshold|policy_type): ", "what a policy says must fit its type and its bounds"),
    (r"PUT /v1/fleet/", 400, r"(version_name|app_version): only versions", "only versions with sockets can be linked"),
    (r"/session", 400, r"(deployment_request_id|app_version|version_name|app_name): ", "what a session is for must exist and fit"),
    (r"/session", 422, r".*", "there is no room, or it is no session of that kind"),
    (r":report$", 400, r"reason: the deployment has \d+ reports", "a deployment keeps so many reports at most"),
    (r"/tags$", 400, r"name: the deployment has \d+ tags, the most possible", "a deployment has so many tags at most"),
    (r"PATCH ", 400, r"envs\[\d+\]\.value: is (missing|needed)", "a variable without a value must be a hidden one that is there"),
    (r"PATCH ", 400, r"session_config\.(kind|sockets): is missing", "a change of settings that are not there yet"),
    (r":available$", 400, r"(latitude|longitude): is missing", "the two come together"),
    (r"", 400, r"dns_config: must have at most \d+ bytes as JSON", "any JSON, of a bounded size"),
    (r"/v1/app/.*version", 400, r"private_(username|token): .*", "a login is whole or not there"),
    (r"GET /v1/deployments$", 400, r"query(:|\.)|filters|order_by", "the query is JSON in a text, with its own grammar"),
    (r"/v1/self/stop/|/v1/stop/", 410, r".*", "it has ended"),
    (r"GET /v1/metrics/", 422, r"end_time must be after start_time|that would be \d+ values of each kind",
     "two times together, and how much lies between them"),
    (r"/v1/storage/endpoint", 400, r"endpoint: (its address is not one|its port must be|must )",
     "addresses that are never called, whatever they look like"),
    (r"/v1/storage/endpoint", 400, r"bucket: must begin and end", "no two points in a row, and not an address"),
    (r"/pull-profile", 400, r"source: must (not end with a slash|name a file)", "a file and a folder are written differently"),
    (r"/storage/endpoint$|/pull-profile$", 409, r".*there are \d+", "there are so many at most"),
    (r"/version", 424, r".*", "the registry is asked for the image"),
    (r"/v1/app/.*version", 400, r"docker_repository: the registry cannot be asked", "addresses that are never called"),
    (r"/whitelist$", 409, r".*has \d+ entries", "a list has so many entries at most"),
]


# How often each rule was the reason.
reasons = {}
lock = threading.Lock()


def parts(message):
    """The parts of a message: `users: must not be empty; tags[0]: must be a text`."""
    return re.split(r"; (?=[\w.\[\]-]+: )", message)


def pages_are_right(response):
    """Whether the query is one that is taken: of a repeated parameter the last counts, and an empty one is absent."""
    query = urllib.parse.parse_qsl(urllib.parse.urlsplit(response.request.url).query, keep_blank_values=True)
    values = dict(query)
    return all(re.fullmatch(r"\s*(\+?0*[1-9]\d*)?\s*", values.get(name, "")) for name in ("page", "limit"))


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if isinstance(failure, AllowHeaderMismatch):
        # Addresses that differ by a verb (`{request_id}` and `{request_id}:report`) share a route, and its methods.
        return "}" not in case.operation.path.rsplit("/", 1)[-1]
    if isinstance(failure, AcceptedNegativeData) and case.operation.method.upper() == "GET":
        return not pages_are_right(response)
    if not isinstance(failure, RejectedPositiveData):
        return True
    try:
        message = response.json()["message"]
    except Exception:
        return True
    rules = [rule for rule in RULES if re.search(rule[0], case.operation.label) and rule[1] == response.status_code]
    met = [next((rule for rule in rules if re.match(rule[2], part)), None) for part in parts(message)]
    with lock:
        for rule in filter(None, met):
            reasons[rule[3]] = reasons.get(rule[3], 0) + 1
    return None in met


# ---- who calls: the first token, where nothing else is said ------------------------------------------------------------

API_TOKEN = f"token {TOKEN}"


@schemathesis.auth()
class FirstToken:
    def get(self, case, context):
        return API_TOKEN

    def set(self, case, data, context):
        case.headers["Authorization"] = data


# ---- the world -----------------------------------------------------------------------------------------------------------

numbers = itertools.count()
dice = random.Random(os.environ.get("SPAWNPOINT_TEST_SEED", "spawnpoint"))

VERSION = {
    "name": "v1", "docker_repository": "registry.test", "docker_image": "fake/game", "docker_tag": "ok",
    "req_cpu": 100, "req_memory": 100, "ports": [{"port": 7777, "protocol": "UDP", "name": "game"}],
}

STORAGE = {
    "name": "fixture", "access_key_id": "key", "secret_access_key": "secret", "bucket": "bucket",
    "endpoint": "https://s3.example.com",
}
PROFILE = {"name": "maps", "source": "maps", "source_type": "Folder", "destination": "/maps"}


def call(method, path, body=None):
    """One call with the first token; answers the JSON of a success, else None."""
    request = urllib.request.Request(URL + path, method=method, data=json.dumps(body).encode() if body is not None else None)
    request.add_header("Authorization", f"token {TOKEN}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else {}
    except urllib.error.HTTPError:
        return None


def new_app():
    name = f"app-{next(numbers)}"
    call("POST", "/v1/app", {"name": name, "is_active": True, "image": ""})
    call("POST", f"/v1/app/{name}/version", VERSION)
    return name


def new_storage():
    name = f"storage-{next(numbers)}"
    call("POST", "/v1/storage/endpoint", {**STORAGE, "name": name})
    call("POST", f"/v1/storage/endpoint/{name}/pull-profile", PROFILE)
    return name


def new_deployment():
    body = {
        "application": "fixture", "version": "v1", "tags": ["ranked"],
        "users": [{"user_type": "geo_coordinates", "user_data": {"latitude": 45.5, "longitude": -73.5}}],
    }
    made = call("POST", "/v2/deployments", body)
    return made and made["request_id"]


def new_telemetry():
    body = {"deployments": [standing()], "ips": ["192.0.2.1"]}
    made = call("POST", "/v1/telemetry/active-deployments", body)
    return made and made["retrieval_key"]


call("POST", "/v1/app", {"name": "fixture", "is_active": True, "image": ""})
call("POST", "/v1/app/fixture/version", VERSION)
call("POST", "/v1/storage/endpoint", STORAGE)
call("POST", "/v1/storage/endpoint/fixture/pull-profile", PROFILE)
OWN_TOKEN_ID = next(token["id"] for token in call("GET", "/spawnpoint/v1/tokens")["tokens"])
standing_id = new_deployment()


def standing():
    """A deployment that has not ended: the one of before, or a new one."""
    global standing_id
    status = call("GET", f"/v1/status/{standing_id}")
    if status is None or status["current_status"] not in ("Status.READY", "Status.DEPLOYING"):
        standing_id = new_deployment() or standing_id
    return standing_id


def mac(purpose, data):
    """`Vault::mac`: how the tokens and numbers in a container's variables are derived."""
    key = hmac.new(MASTER, b"spawnpoint mac", hashlib.sha256).digest()
    message = len(purpose).to_bytes(8, "big") + purpose.encode() + data.encode()
    return hmac.new(key, message, hashlib.sha256).digest()


def secret_of(purpose, deployment):
    return mac(purpose, deployment)[:16].hex()


def number_of(purpose, deployment):
    return str(int.from_bytes(mac(purpose, f"number {deployment}")[:4], "big") % 999_999 + 1)


# What is made gets a name that is free.
NAMED_ANEW = (
    "POST /v1/app", "POST /v1/app/{app_name}/version", "POST /v1/storage/endpoint",
    "POST /v1/storage/endpoint/{endpoint_name}/pull-profile",
)


def ends_or_changes(label):
    return re.search(r"^(DELETE|PATCH) |bulk-stop|self/stop", label) is not None


def storage_for(label):
    """Storages are few (there is a bound): one to change, made anew after it was deleted or renamed, and one to look at."""
    global changing
    if not ends_or_changes(label):
        return "fixture"
    if call("GET", f"/v1/storage/endpoint/{changing}/pull-profile/maps") is None:
        if changing:
            call("DELETE", f"/v1/storage/endpoint/{changing}")
        changing = new_storage()
    return changing


changing = ""


def point_at_the_world(case):
    """Makes names that exist of generated ones, four times in five; never where they are what is wrong about the case."""
    label, names = case.operation.label, case.path_parameters
    if dice.random() < 0.2:
        return
    path_is_wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.PATH)
    if names and not path_is_wrong:
        if "app_name" in names:
            names["app_name"] = new_app() if ends_or_changes(label) else "fixture"
        if "version_name" in names:
            names["version_name"] = "v1"
        if "endpoint_name" in names:
            names["endpoint_name"] = storage_for(label)
        if "pull_profile_name" in names:
            names["pull_profile_name"] = "maps"
            if label.startswith("DELETE") and "/app/" in label:
                link = f"/v1/storage/endpoint/{names['endpoint_name']}/pull-profile/maps/app/{names['app_name']}/version/v1"
                call("PUT", link)
        if "image_name" in names:
            names["image_name"] = dice.choice(("arena", "studio/arena"))
            if "tag_name" in names:
                names["tag_name"] = dice.choice(("v1", "latest", "v2"))
        if "retrieval_key" in names:
            names["retrieval_key"] = new_telemetry() or names["retrieval_key"]
        if "fleet-name" in names:
            names["fleet-name"] = "fixture"
        if "host_id" in names:
            names["host_id"] = "host-2"
        if "request_id" in names:
            fresh = ends_or_changes(label) and "/tags" not in label
            deployment = (new_deployment() if fresh else None) or standing()
            names["request_id"] = deployment
            for name, purpose in (("access_point_id", "self-stop"), ("security_number", "context")):
                if name in names:
                    names[name] = number_of(purpose, deployment)
                    if case.headers.get("Authorization") == API_TOKEN:
                        case.headers["Authorization"] = secret_of(purpose, deployment)
    headers_are_wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER)
    if "Idempotency-Key" in (case.headers or {}) and not headers_are_wrong:
        case.headers["Idempotency-Key"] = f"key-{next(numbers)}"
    query_is_wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.QUERY)
    if case.query and label == "GET /v1/locations" and not query_is_wrong:
        case.query.update({name: value for name, value in (("app", "fixture"), ("version", "v1")) if name in case.query})
        if "version" in case.query:
            case.query["app"] = "fixture"
    body_is_wrong = case.meta is None or case.meta.is_negative_at(ParameterLocation.BODY)
    if isinstance(case.body, dict) and not body_is_wrong:
        if dice.random() < 0.7:
            sensible(case.body)
        for name, value in (("application", "fixture"), ("app_name", "fixture"), ("version", "v1"), ("version_name", "v1"),
                            ("app_version", "v1")):
            if name in case.body and label.startswith("POST") and re.search("[/:]deploy", label):
                case.body[name] = value
        if isinstance(case.body.get("private_host_ids"), list):
            case.body["private_host_ids"] = ["host-2", *(host for host in case.body["private_host_ids"][:60] if host != "host-2")]
        if re.search(DEPLOY, label) and dice.random() < 0.7:
            for name in ("resources", "filters", "require_cached_locations", "city", "country", "continent", "region",
                         "administrative_division"):
                case.body.pop(name, None)
        if isinstance(case.body.get("tags"), list) and "/container-registry/" in label:
            case.body["tags"] = ["v1", *case.body["tags"][:99]]
        if "deployments" in case.body and "/telemetry/" in label:
            case.body["deployments"] = [standing(), *case.body["deployments"][:99]]
        if label in NAMED_ANEW and isinstance(case.body.get("name"), str):
            case.body["name"] = f"{case.body['name'][:40]}-{next(numbers)}"


def keep_the_world(case):
    """Nobody saws off the branch that the run sits on: schemathesis tries what it has read in answers."""
    names = case.path_parameters or {}
    if names.get("id") == OWN_TOKEN_ID and "/tokens/" in case.operation.label:
        names["id"] = "tok_nobody"
    for name in ("app_name", "endpoint_name"):
        if names.get(name) == "fixture" and ends_or_changes(case.operation.label):
            names[name] = "nobody"
    if names.get("host_id") == "host-1" and not case.operation.label.startswith("GET"):
        names["host_id"] = "nobody"


def sensible(body):
    """Mends what schemas cannot say, so that more than the first check is reached."""
    for name in ("environment_variables", "env_vars", "envs"):
        if isinstance(body.get(name), list):
            keys = {re.sub(r"^(?=[0-9])", "_", re.sub(r"[^A-Za-z0-9]", "_", item["key"])): item for item in body[name]}
            body[name] = list(keys.values())
    if isinstance(body.get("ports"), list):
        body["ports"] = [
            {**port, "port": 7000 + number, "name": f"port{number}", "tls_upgrade": False}
            for number, port in enumerate(body["ports"])
        ]
    if isinstance(body.get("req_memory"), int) and isinstance(body.get("req_cpu"), int):
        body["req_memory"] = min(body["req_memory"], 2 * body["req_cpu"])


@schemathesis.hook
def before_call(context, case, kwargs):
    with lock:
        keep_the_world(case)
        point_at_the_world(case)


# ---- what was tried: calls and answers of each operation, for the script -------------------------------------------------

tried = {}


@schemathesis.hook
def after_call(context, case, response):
    with lock:
        answers = tried.setdefault(case.operation.label, {})
        answers[response.status_code] = answers.get(response.status_code, 0) + 1


@atexit.register
def write_what_was_tried():
    with open(os.environ["SPAWNPOINT_TEST_TRIED"], "w", encoding="utf-8") as file:
        json.dump({"tried": tried, "reasons": reasons}, file)


# ---- checks of our own -------------------------------------------------------------------------------------------------


@schemathesis.check
def errors_have_a_message(ctx, response, case):
    # 431: the connection was refused before there was a request.
    if response.status_code < 400 or response.status_code == 431:
        return
    body = response.json()
    assert isinstance(body.get("message"), str) and body["message"], f"an error without a message: {body}"
    assert response.headers.get("content-type", [""])[0] == "application/json"


@schemathesis.check
def no_secret_is_shown(ctx, response, case):
    for secret in (TOKEN, MASTER.hex(), secret_of("self-stop", standing_id), secret_of("context", standing_id)):
        assert secret.encode() not in response.content, "an answer holds a secret"
