"""A server's /openapi.json, to hold its answers against."""

import json
import re
import urllib.request

import jsonschema_rs


class ApiDescription:
    def __init__(self, document):
        self.document = document
        self._validators = {}

    @staticmethod
    def of(url):
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as answer:
            return ApiDescription(json.load(answer))

    def check(self, schema, instance):
        """Fails unless `instance` is as `schema`, a part of the document, says."""
        key = json.dumps(schema)
        if key not in self._validators:
            whole = schema | {"components": self.document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        try:
            self._validators[key].validate(instance)
        except jsonschema_rs.ValidationError as error:
            raise AssertionError(f"not as /openapi.json says: {error}") from None

    def check_chunk(self, name, chunk):
        self.check({"$ref": f"#/components/schemas/{name}"}, chunk)

    def check_answer(self, method, path, status, content_type, body):
        """An answer that is no stream. Paths and methods that are not described are errors, described as such."""
        operation = self._operation(method, path)
        assert operation or status in (404, 405), f"{method} {path} answers {status} and is not described"
        described = self._response(operation, status)
        content = described["content"]
        media_type = content_type.split(";")[0]
        assert media_type in content, f"{method} {path} {status}: {content_type} is not described"
        if media_type == "application/json":
            self.check(content[media_type]["schema"], json.loads(body))

    def _operation(self, method, path):
        for template, operations in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", ".+", re.escape(template).replace(r"\{", "{").replace(r"\}", "}")), path):
                return operations.get(method.lower())
        return None

    def _response(self, operation, status):
        if operation is None:
            return self.document["components"]["responses"]["Error"]
        responses = operation["responses"]
        described = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        assert described, f"status {status} is not described"
        if "$ref" in described:
            return self.document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        return described
