"""Random Jinja templates for check_templates.py: what a chat template could be made of, mostly of fitting types."""

TEXTS = ["", "a", "A b", "user", "role", "content", " x ", "\\n", "é", "🦙\\t", "it\\'s", "a,b,,c", "<b>", "%s", "{} {}", "1", "-2.5", "0x1F", "ß", "a\\nb\\r\\nc", "aXbxc\\n"]
KEYS = ["role", "content", "name", "tool_calls", "function", "parameters", "a", "nope", "items", "get"]
LOOP = {"number": ["index", "index0", "length", "revindex", "revindex0", "depth", "depth0"], "truth": ["first", "last", "changed(1)", "changed(x)"],
        "text": ["cycle('a', 'b')"], "any": ["previtem", "nextitem", "nope"]}

# Filters and methods: of what they take, what they give.
TEXT_TO_TEXT = ["| upper", "| lower", "| trim", "| capitalize", "| title", "| string", "| replace('a', 'b')", "| indent(2)", "| indent(3, true)", "| indent('>', true, true)",
                "| trim('a ')", "| truncate(9)", "| truncate(5, true, '')", "| center(7)", "| tojson", "| reverse", "| default('d')", "| default(1, true)", "| first", "| last",
                "| join('-')", ".upper()", ".lower()", ".strip()", ".lstrip()", ".rstrip()", ".replace('a', 'b')", ".replace('', '-', 2)", ".title()", ".capitalize()",
                ".strip('ax')", ".zfill(4)", ".swapcase()", ".removeprefix('a')", ".removesuffix('b')", ".ljust(4)", ".rjust(4, '*')", ".center(5)", ".expandtabs()", ".casefold()",
                "[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[::2]", "[1:3]", "[none:2]", "[-3:-1]", ".split('a')[0]", ".split()[-1]", ".partition(',')[0]", " * 2", " + 'z'", " ~ 1",
                ".join(['a', 'b'])", ".format(1, 'b')", " % 'q'", "| replace('x', '', 1)", "| wordwrap(5)", "| urlencode", "| striptags"]
TEXT_TO_LIST = [".split()", ".split(',')", ".split('\\n')", ".splitlines()", ".splitlines(true)", ".rsplit(',', 1)", ".split(',', 1)", ".split(none, 1)", "| list", ".partition(',')",
                ".rpartition('x')", "| map('upper') | list", "| batch(2) | list", "| unique | list", "| sort"]
TEXT_TO_NUMBER = ["| length", "| count", "| int", "| float", "| wordcount", ".find('a')", ".rfind('b')", ".count('a')", "| int(7, 16)", "| int(base=2)", "| float(2.5)"]
TEXT_TO_TRUTH = [".startswith('a')", ".endswith(('b', 'c'))", ".isdigit()", ".isalpha()", ".isspace()", ".isupper()", ".islower()", ".isalnum()", ".istitle()", ".isdecimal()",
                 ".isnumeric()", ".isascii()", " is lower", " is upper", " is string", " in 'abc user'", " == 'a'", " < 'b'", " is in ['a', 'b']", " not in messages", ".isprintable()"]
LIST_TO_LIST = ["| list", "| reverse | list", "[1:]", "[:-1]", "[::-1]", "[::2]", "| unique | list", " + [1]", " * 2", "| batch(2) | list", "| batch(3, 'f') | list", "| slice(2) | list",
                "| slice(3, 'f') | list", "| map('string') | list", "| select | list", "| reject('none') | list", "| map('tojson') | list", "| select('string') | list", "| default([])",
                "| map('default', 'z') | list", "| reject('in', ['a', 1]) | list", ".copy()"]
LIST_TO_ANY = ["| first", "| last", "[0]", "[-1]", "[9]", "| map('string') | first", "| select | first", "| random"]
LIST_TO_TEXT = ["| join", "| join(', ')", "| tojson", "| string", "| tojson(indent=2)", "| map('string') | join('/')", "| tojson(separators=(',', ':'))"]
LIST_TO_NUMBER = ["| length", "| count", ".count('a')", ".index('a')", "| sum"]
LIST_TO_TRUTH = [" is sequence", " is iterable", " is mapping", " == []", " is none", "| select is iterable", " is string", " != [1]"]
MESSAGES_TO_LIST = ["| selectattr('role', 'equalto', 'user') | list", "| rejectattr('role', 'in', ['user']) | list", "| selectattr('content') | list", "| selectattr('tool_calls', 'defined') | list",
                    "| map(attribute='role') | list", "| map(attribute='content', default='none') | list", "| groupby('role') | map('first') | list", "| sort(attribute='role')", "[1:]", "[::-1]",
                    "| sort(attribute='role', reverse=true)", "| rejectattr('name') | list", "| map('items') | map('first') | list", "| selectattr('content', 'string') | map(attribute='content') | list"]
NUMBER_TO_NUMBER = ["| abs", "| int", "| float", "| round", "| round(1)", "| round(1, 'floor')", "| round(0, 'ceil')", " + 1", " - 2.5", " * 3", " / 4", " // 2", " % 3", " % -3", " ** 2", " // -0.7", " % 0.1", " - true"]
NUMBER_TO_TEXT = ["| string", "| tojson", " ~ ''", "| string | length ~ 'n'"]
NUMBER_TO_TRUTH = [" is odd", " is even", " is divisibleby(2)", " > 1", " <= 2", " == 1.0", " in [1, 2]", " is number", " is integer", " is float", " < 2 < 3", " != 1", " is boolean", " is gt 1", " is sameas 1"]
MAPPING_TO_ANY = [".a", "['role']", ".get('role')", ".get('x', 1)", ".nope", ".content", ".items() | first", ".items() | list", ".keys() | list", ".values() | list", "| dictsort", "| list",
                  "| length", "| tojson", "| tojson(sort_keys=true)", "| string", "| items | list", " is mapping", ".tool_calls is defined", ".function.name", "| dictsort(by='value') | length",
                  "| dictsort(true, reverse=true)", "| tojson(indent=1)", "| first", "| join(',')", ".pop is callable", ".update is defined"]
ANY_TO_TRUTH = [" is defined", " is undefined", " is none", " is string", " is mapping", " is number", " is iterable", " is sequence", " is true", " is false", " is boolean", " is not none",
                " is not defined", " == none", " is callable", " is sameas none"]


class Writer:
    def __init__(self, random):
        self.random = random
        self.choose = random.choice
        self.loops = 0

    def one_in(self, number):
        return self.random.randrange(number) == 0

    def chained(self, value, suffix):
        # A filter or a method of something in brackets, or straight after it, which may bind otherwise.
        return f"{value}{suffix}" if self.one_in(4) else f"({value}){suffix}"

    def expression(self, depth=3, kind=None):
        kind = kind or self.choose(["text", "text", "text", "list", "number", "truth", "mapping", "any"])
        if self.one_in(30):
            kind = "any"
        if depth > 0 and self.one_in(12):
            test = self.expression(depth - 1, "truth")
            return f"({self.expression(depth - 1, kind)} if {test} else {self.expression(depth - 1, kind)})" if self.one_in(2) else f"({self.expression(depth - 1, kind)} if {test})"
        if self.loops and kind in LOOP and self.one_in(6):
            return "loop." + self.choose(LOOP[kind])
        if depth == 0 or self.one_in(4):
            return getattr(self, kind + "_atom")()
        return getattr(self, kind)(depth - 1)

    def text_atom(self):
        return self.choose(["x", "messages[0].content", "messages[-1]['content']", "bos_token", "missing", "message.content", "eos_token"]) if self.one_in(3) else f"'{self.choose(TEXTS)}'"

    def number_atom(self):
        return self.choose(["0", "1", "2", "3", "-1", "7", "1.5", "0.1", "-0.0", "1e3", "10", "2.675", "x", "ns.n", "1e16", "1_000", "123456789.125"])

    def truth_atom(self):
        return self.choose(["true", "false", "True", "none", "tools", "add_generation_prompt", "missing", "x", "ns.a"])

    def list_atom(self):
        return self.choose(["messages", "[]", "['b', 'a', 'B']", "[1, 2.5, 3]", "range(4) | list", "range(1, 9, 3) | list", "tools", "y", "('a', 1)", "[none, 'a', 1]", "[[1, 2], [3]]",
                            "messages[1:]", "[x, y]", "range(5, 0, -2) | list", "(x,)"])

    def mapping_atom(self):
        return self.choose(["messages[0]", "messages[2]", "messages[3]", "tools[0].function", "{}", "{'a': 1, 'b': x}", "{'b': 'z', 'a': 'Y', 3: none}", "dict(a=1, role='r')", "message",
                            "messages[2].tool_calls[0]", "{'content': {'content': 1}}", "tools[0].function.parameters"])

    def any_atom(self):
        return self.choose(["none", "missing", "messages[9]", "messages[0].nope", "x", "y", "ns", "ns.nope", "item", "message", "1", "'a'", "[]"])

    def text(self, depth):
        kind = self.random.randrange(8)
        if kind < 4:
            return self.chained(self.expression(depth, "text"), self.choose(TEXT_TO_TEXT))
        if kind == 4:
            return self.chained(self.expression(depth, "list"), self.choose(LIST_TO_TEXT))
        if kind == 5:
            return self.chained(self.expression(depth, "number"), self.choose(NUMBER_TO_TEXT))
        if kind == 6:
            return f"{self.expression(depth, 'text')} {self.choose(['+', '~', '~'])} {self.expression(depth, 'text')}"
        form = self.choose(["'%s-%r' % ($0, $1)", "'%5.1f|%-4d|%+d|%04d|%x' % (1.25, 3, 4, 5, 255)", "'{} {0}'", "'{0!s:>5}|{1}'.format($0, $1)", "'%(a)s' % {'a': $0}", "'%s' | format($0)",
                            "'{a}{b}'.format(a=$0, b=$1)", "'%s%%' % $0", "$0 if $1", "m($0)", "m($0, $1)", "m(b=$0, a=$1)", "'{:>6}|{:<4}|{:^7}|{:05d}|{:.2f}'.format('a', $0, 'c', 42, 1.5)"])
        return form.replace("$0", self.expression(depth, "text")).replace("$1", self.expression(depth, "number"))

    def number(self, depth):
        kind = self.random.randrange(4)
        if kind == 0:
            return self.chained(self.expression(depth, "text"), self.choose(TEXT_TO_NUMBER))
        if kind == 1:
            return self.chained(self.expression(depth, "list"), self.choose(LIST_TO_NUMBER))
        if kind == 2:
            return f"{self.expression(depth, 'number')} {self.choose(['+', '-', '*', '/', '//', '%'])} {self.expression(depth, 'number')}"
        return self.chained(self.expression(depth, "number"), self.choose(NUMBER_TO_NUMBER))

    def truth(self, depth):
        kind = self.random.randrange(7)
        if kind == 0:
            return f"{self.expression(depth, 'truth')} {self.choose(['and', 'or', '==', '!='])} {self.expression(depth, 'truth')}"
        if kind == 1:
            return "not " + self.expression(depth, "truth")
        of, suffixes = self.choose([("text", TEXT_TO_TRUTH), ("list", LIST_TO_TRUTH), ("number", NUMBER_TO_TRUTH), ("any", ANY_TO_TRUTH), ("any", ANY_TO_TRUTH)])
        return self.chained(self.expression(depth, of), self.choose(suffixes))

    def list(self, depth):
        kind = self.random.randrange(4)
        if kind == 0:
            return self.chained(self.expression(depth, "text"), self.choose(TEXT_TO_LIST))
        if kind == 1:
            return "messages" + self.choose(MESSAGES_TO_LIST)
        if kind == 2:
            return "[" + ", ".join(self.expression(depth) for _ in range(self.random.randrange(1, 4))) + "]"
        return self.chained(self.expression(depth, "list"), self.choose(LIST_TO_LIST))

    def mapping(self, depth):
        return "{" + ", ".join(f"'{self.choose(KEYS)}': {self.expression(depth)}" for _ in range(self.random.randrange(3))) + "}"

    def any(self, depth):
        kind = self.random.randrange(3)
        if kind == 0:
            return self.chained(self.expression(depth, "list"), self.choose(LIST_TO_ANY))
        if kind == 1:
            return self.chained(self.expression(depth, "mapping"), self.choose(MAPPING_TO_ANY))
        return self.choose(["namespace(a=$).a", "dict(a=$)", "namespace(a=$, n=2)", "strftime_now('%d %b %Y') ~ $", "$ | default($, true)", "$ or $", "$ and $"]).replace("$", self.expression(depth))

    def tag(self, text):
        return self.choose(["{% ", "{%- ", "{% ", "{%+ ", "{%"]) + text + self.choose([" %}", " -%}", " %}", " +%}", "-%}", "\n%}"])

    def data(self):
        return self.choose(["", "a", " ", "\n", "\n  ", "  \n", "x y", "<|im_start|>", "{# c #}", "  {#- c -#}\n", "\t", "é\n\n", "{% raw %}{{ x }}{% endraw %}", "\r\n  "])

    def print(self):
        return self.choose(["{{ ", "{{- ", "{{"]) + self.expression() + self.choose([" }}", " -}}", " }}"])

    def block(self, depth):
        return "".join(self.statement(depth) for _ in range(self.random.randrange(1, 4)))

    def loop(self, depth):
        target = self.choose(["item", "message", "x", "message", "y"])
        things = self.choose(["messages", "messages", "tools", "range(4)", "'abc'", "messages[1:]", "messages | reverse", "messages | selectattr('role', 'ne', 'user')", "[1, 2, 2, 3]",
                              "message.tool_calls", self.expression(2, "list"), "y", "ns.a"])
        if self.one_in(5):
            target, things = "x, y", self.choose(["{'a': 1, 'b': 2}.items()", "messages[0] | items", "messages | groupby('role')", "tools[0].function | dictsort", "[(1, 2), [3, 4]]"])
        condition = " if " + self.expression(1, "truth") if self.one_in(4) else ""
        recursive = " recursive" if self.one_in(12) else ""
        self.loops += 1
        text = self.tag(f"for {target} in {things}{condition}{recursive}") + self.block(depth - 1)
        if recursive and not condition:
            text += "{% if loop.depth < 3 %}{{ loop(" + self.choose(["[1, 2]", "messages[:1]", "'ab'"]) + ") }}{% endif %}"
        if self.one_in(5):
            text += self.tag("if " + self.expression(1, "truth")) + self.tag(self.choose(["break", "continue"])) + self.tag("endif") + self.data()
        self.loops -= 1
        if self.one_in(5):
            text += self.tag("else") + self.block(depth - 1)
        return text + self.tag("endfor")

    def statement(self, depth):
        kind = self.random.randrange(16)
        if depth == 0 or kind < 5:
            return self.data() + self.print()
        body = lambda: self.block(depth - 1)
        if kind < 7:
            text = self.tag("if " + self.expression(2, "truth")) + body()
            if self.one_in(3):
                text += self.tag("elif " + self.expression(1, "truth")) + body()
            if self.one_in(2):
                text += self.tag("else") + body()
            return text + self.tag("endif")
        if kind < 10:
            return self.loop(depth)
        if kind < 13:
            return self.tag(self.choose([f"set x = {self.expression(3, 'text')}", f"set x = {self.expression(2, 'number')}", f"set y = {self.expression(3, 'list')}",
                                         f"set ns = namespace(a={self.expression(1)}, n=1)", f"set ns.a = {self.expression()}", f"set ns.n = ns.n + {self.expression(1, 'number')}",
                                         f"set x, y = {self.expression(1, 'text')}, {self.expression(1, 'list')}", f"set message = {self.expression(1, 'mapping')}"]))
        if kind == 13:
            name = self.choose(["set x", "set x | upper", "filter trim", "filter upper | replace('A', 'b')", "with x = 1", "generation", "with y = x, x = 2", "filter indent(1)"])
            loops, self.loops = self.loops, 0
            text = self.tag(name) + body() + self.tag("end" + name.split()[0])
            self.loops = loops
            return text
        loops, self.loops = self.loops, 0
        if kind == 14:
            text = self.tag("macro m(" + self.choose(["", "a", "a, b=1", "x, y='d'", "a, b=x"]) + ")") + body() + self.tag("endmacro")
        else:
            text = self.tag("call" + self.choose(["", "(x)"]) + " m(" + self.expression(1) + ")") + body() + self.tag("endcall")
        self.loops = loops
        return text


def template(random):
    writer = Writer(random)
    start = random.choice(["", "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}", "{% macro m(a) %}[{{ caller('q') }}]{{ varargs }}{{ kwargs }}{% endmacro %}",
                           "{% macro m(a) %}{{ x }}{% set x = a %}{{ x }}{{ ns.a }}{% endmacro %}"])
    names = "".join(random.choice(["", text]) for text in ["{% set ns = namespace(a=1, n=3) %}", "{% set x = messages[1].content %}", "{% set y = ['a', 'b'] %}", "{% set message = messages[3] %}"])
    return start + names + writer.block(3)


# Where we differ on purpose: in how Python shows its objects, what errors it has only when an iterator is
# used up, integers beyond 64 bits, and filters that no chat template has a use for.
SHOWN_OBJECTS = ("dict_items(", "dict_keys(", "dict_values(", "range(", "<function", "<built-in", "<bound method", "<class", "<Macro", "LoopContext", "<Namespace", "<generator",
                 "<jinja2", "TemplateReference", "<transformers", "list_reverseiterator", "<Macro", "<generator object".upper(), " object at 0x", "OBJECT AT 0X")
OUR_LIMITS = ("the integer is too large", "is out of range", "No filter named", "No test named", "object is not iterable")


def is_known_difference(expected, found):
    shown = str(expected).lower()
    if any(text.lower() in shown for text in SHOWN_OBJECTS) or "No filter named" in shown:
        return True
    return any(text in found.get("error", "") for text in OUR_LIMITS) or "no filter named" in shown or "no test named" in shown
