#!/usr/bin/env python3
"""Writes tests/data/templates/language_cases.json: small templates with what the real Jinja2 makes of them.

Usage: pip install jinja2; make_language_cases.py (Jinja2 3.1.6 made the file in the repository)
"""
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUTPUT = pathlib.Path(__file__).parents[2] / "data/templates/language_cases.json"

MESSAGES = [
    {"role": "user", "content": "Hello, \"you\" ' é 😀\n x"},
    {"role": "assistant", "content": "Hi", "tool_calls": [
        {"type": "function", "function": {"name": "f", "arguments": {"a": 1, "b": [1.5, None, True]}}}]},
]

# One template a line.
LANGUAGE = r"""
{{ 1 }} {{ 1.0 }} {{ 1e20 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.5e-7 }} {{ -0.0 }} {{ 123456789.123 }}
{{ [1, 'a', "it's", 'q"', 'b\n', none, true, 1.5] }}
{{ (1,) }} {{ () }} {{ (1,2) }} {{ {} }} {{ {'a': 1, 2: 'b', none: [] } }}
{{ "é\u00e9\x41\t\q" }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 1 + 2 * 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ (1 + 2) * 3 }} {{ not 1 == 2 }} {{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }}
{{ 'a' ~ 1 ~ none ~ true ~ [1] }} {{ 1 ~ 2 + 3 }} {{ 'ab' * 3 }} {{ 3 * [1,2] }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ 'a' in 'abc' }} {{ 'z' not in 'abc' }} {{ 1 in [1,2] }} {{ 'a' in {'a':1} }} {{ 1 in (1,2) }}
{{ x }}|{{ x is defined }}|{{ x is undefined }}|{{ x | default('d') }}|{{ none | default('d') }}|{{ none | default('d', true) }}|{{ '' | default('e', boolean=true) }}
{{ x.y }}
{{ x + 1 }}
{{ x ~ 'a' }}
{{ x == y }} {{ x != 1 }} {{ x | length }} {{ x | list }}
{% for a in x %}{{ a }}{% else %}none{% endfor %}
{{ messages[0].foo }}|{{ messages[0]['foo'] }}|{{ messages[5] }}|{{ messages[-1].role }}
{{ messages[0].foo.bar }}
{{ messages[9].bar }}
{{ messages.foo }}
{{ 'abc'[1] }} {{ 'abc'[-1] }} {{ 'héllo'[1:3] }} {{ 'héllo'[::-1] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[4:1:-1] }} {{ 'abc'[10:] }} {{ 'abc'[-10:2] }} {{ [1,2,3,4][1:] }} {{ [1,2,3,4][:-1] }} {{ [1,2,3,4][::-2] }} {{ (1,2,3)[1:] }} {{ 'abc'[5] }}
{{ messages[::-1][0].role }} {{ [1,2,3][1:2:1] }} {{ [1,2,3][:] }} {{ [1,2,3][none:2] }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a = 1, 2 %}{{ a }}
{% set ns = namespace(x=1, y='z') %}{% set ns.x = ns.x + 5 %}{{ ns.x }}{{ ns.y }}{{ ns.q is defined }}
{% set x %}block {{ 1 }}{% endset %}[{{ x }}]
{% set x | upper | trim %}  block {{ 1 }} {% endset %}[{{ x }}]
{% filter upper %}abc {{ 'd' }}{% endfilter %}
{% filter replace('a','b') | upper %}abc{% endfilter %}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in range(3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.cycle('a','b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.changed(i // 2) }};{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }},{% endfor %}
{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}
{% for c in 'héy' %}[{{ c }}]{% endfor %}
{% for i in [1,2,3,4] if i % 2 == 0 %}{{ i }}/{{ loop.length }} {% else %}no{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}
{% for a, b in [(1,2),(3,4)] %}{{ a }}{{ b }}{% endfor %}
{% for (a, b) in [[1,2],[3,4]] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [1] %}{{ a }}{% endfor %}
{% for i in 5 %}{% endfor %}
{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=5) }} {{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}
{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}
{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}body{% endcall %}
{% macro m() %}<{{ caller('x') }}>{% endmacro %}{% call(y) m() %}body {{ y }}{% endcall %}
{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}
{% set x = 1 %}{% for i in [1,2] %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}
{{ 'yes' if true else 'no' }} {{ 'yes' if false }} {{ 'a' if false else 'b' if false else 'c' }}
{{ ' x ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'ABC' | lower }}|{{ 'straße ŉ ﬁ ΑΣ' | upper }}|{{ 'ΟΔΟΣ ΟΔΟΣ' | lower }}|{{ 'hELLO wORLD' | capitalize }}|{{ "hello wORLD-foo it's (bar" | title }}
{{ "it's a tEST ǆ".title() }} {{ 'ǆabc'.capitalize() }} {{ 'aBc'.swapcase() }}
{{ [3,1,2] | sort }} {{ ['b','A','c'] | sort }} {{ ['b','A','c'] | sort(case_sensitive=true) }} {{ [3,1,2] | sort(reverse=true) }} {{ messages | sort(attribute='role') | map(attribute='role') | list }}
{{ [1,2,2,3] | unique | list }} {{ ['a','A'] | unique | list }} {{ [1,2,3] | sum }} {{ [1,2,3] | min }} {{ [1,2,3] | max }} {{ [] | max }} {{ [[1,2]] | sum(start=[]) }}
{{ {'b':1,'a':2} | dictsort }} {{ {'b':1,'a':2} | dictsort(by='value') }} {{ {'b':1,'a':2} | dictsort(reverse=true) }} {{ {'b':1,'a':2} | items | list }}
{{ [1,2,3] | first }} {{ [1,2,3] | last }} {{ [] | first }} {{ 'abc' | first }} {{ 'abc' | last }} {{ [1,2,3] | reverse | list }} {{ 'abc' | reverse }} {{ [1,2,3] | length }} {{ 'héy' | length }} {{ {'a':1} | length }} {{ [1,2]|count }}
{{ [1,2,3] | join(', ') }} {{ [1,2] | join }} {{ messages | join('-', attribute='role') }} {{ 'abc' | join('.') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | list }} {{ messages | selectattr('tool_calls') | list | length }} {{ messages | selectattr('tool_calls', 'defined') | list | length }} {{ [1,2,3,4] | select('even') | list }} {{ [1,2,3] | reject('odd') | list }} {{ [0,1,''] | select | list }} {{ [1,2,3]|select('in',[1,2])|list }} {{ [1,2,3]|select('gt', 1)|list }}
{{ ['a','b'] | map('upper') | list }} {{ ['a','b'] | map('replace', 'a', 'z') | list }} {{ [{'a':{'b':1}}] | map(attribute='a.b') | list }} {{ [{}] | map(attribute='a', default='d') | list }} {{ [[1,2]] | map('first') | list }} {{ [[1,2]]|map(attribute=1)|list }}
{{ 'a-b-c' | replace('-', '+') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('b', '') }}
{{ '12' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ '1.9' | int }} {{ 1.9 | int }} {{ '0x1A' | int(base=16) }} {{ '3.5' | float }} {{ 'x' | float }} {{ 5 | float }} {{ 5 | string }} {{ none | string }} {{ -3 | abs }} {{ -3.5 | abs }} {{ ' 12 ' | int }} {{ none | int }}
{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 42.51 | round(1, 'floor') }} {{ 42.51 | round(0,'ceil') }} {{ 5 | round }} {{ 1234 | round(-2) }} {{ 2.675 | round(2) }}
{{ 'a\nb\n\nc' | indent }}| {{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('>>') }}|{{ '' | indent }}|{{ 'a\n' | indent }}
{{ messages | tojson }}
{{ messages | tojson(indent=2) }}
{{ messages | tojson(indent=4, sort_keys=true) }}
{{ messages | tojson(separators=(',', ':')) }}
{{ messages[0] | tojson(ensure_ascii=true) }}
{{ [] | tojson(indent=2) }} {{ {} | tojson(indent=2) }} {{ [[]] | tojson(indent=1) }} {{ 'a\u0001\x7f</script>' | tojson }} {{ 1.0 | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ [1,[2]]|tojson(indent='\t') }} {{ (1,2)|tojson }}
{{ x | tojson }}
{{ messages }}
{{ messages[1].tool_calls[0].function.arguments }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a':1}.keys() | list }} {{ {'a':1}.values() | list }} {{ {'items': 5}.items() | list }} {{ {'items': 5}['items'] }} {{ dict(a=1, b=2) }} {{ dict([('a', 1)]) }} {{ dict({'x':1}, y=2) }}
{{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a b  c '.split(' ') }} {{ ' a b c '.split(none, 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'a\n'.splitlines(true) }}
{{ ' x '.strip() }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'xyx'.strip('x') }}|{{ 'abcab'.rstrip('ab') }}|{{ 'a'.startswith('a') }} {{ 'abc'.endswith(('x','c')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'héé'.rfind('é') }} {{ 'abc'.count('b') }} {{ 'abc'.index('b') }} {{ ','.join(['a','b']) }} {{ 'abc'.upper().lower().title() }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'ab'.removeprefix('a') }} {{ 'ab'.removesuffix('b') }} {{ '5'.zfill(3) }} {{ 'a'.ljust(3) }}|{{ 'a'.rjust(3,'*') }} {{ 'a'.center(4) }}| {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'a1'.isalpha() }} {{ ' '.isspace() }} {{ 'aB'.islower() }} {{ 'AB'.isupper() }}
{{ '%s and %d %5.2f %r %%' % ('a', 3, 1.234, 'q') }} {{ '%s' % 'x' }} {{ '%05d|%-5s|%5s|%+d|%x|%X|%o|%e|%g' % (42, 'a', 'b', 3, 255, 255, 8, 1234.5, 0.0001) }} {{ '%(a)s' % {'a': 1} }} {{ '%s %s' | format('a', 'b') }} {{ '%s' % (1,) }}
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 'a') }} {{ '{a} {b[0]} {c.d}'.format(a=1, b=[2], c={'d': 3}) }}
{{ '{:5}|{:<5}|{:>5}|{:^5}|{:05d}|{:.2f}|{:x}|{{}}'.format('a', 'b', 'c', 'd', 42, 1.5, 255) }}
{{ '%d' % 'a' }}
{{ '%s %s' % ('a',) }}
{{ '%s' % ('a','b') }}
{{ 1 is odd }} {{ 2 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ none is none }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is iterable }} {{ 'a' is iterable }} {{ 5 is iterable }} {{ [] is sequence }} {{ {} is sequence }} {{ 5 is number }} {{ true is number }} {{ true is boolean }} {{ 5 is integer }} {{ true is integer }} {{ 5.0 is float }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 'a' is equalto 'a' }} {{ 1 is eq 1 }} {{ 1 is in [1] }} {{ 1 is not in [2] }} {{ 'a' is lower }} {{ 'A' is upper }} {{ 1 is sameas 1 }} {{ range is callable }} {{ 1 is lt 2 }} {{ 1 is ne 2 }} {{ 'x' is not defined }} {{ x is not defined }} {{ x is none }} {{ x is iterable }} {{ x is string }} {{ 'upper' is filter }} {{ 'odd' is test }}
{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }}
{{ range(1000000) }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [] + 'a' }}
{{ none + 1 }}
{{ 'a' < 1 }}
{{ [1,2] < [1,3] }} {{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ (1,) < (2,) }}
{{ foo() }}
{{ 'a'() }}
{{ 'abc'.nope() }}
{{ messages.append(1) }}
{{ {'a':1}.update({'b':2}) }}
{{ 'x' | nope }}
{{ 'x' is nope }}
{{ raise_exception('oh no') }}
{{ loop }}
{{ messages | map('nope') | list }}
{{ 'a' in 5 }}
{{ 1 in 'abc' }}
{{ -'a' }}
{{ not x }} {{ not [] }} {{ x and 1 }} {{ 0 or 'b' }} {{ 1 and 2 }} {{ '' or none }} {{ x or 'q' }}
{{ 'a' 'b' }} {{ "a" 'b' ~ 'c' }}
{{ messages[0]['role'].upper()[0:2] | lower }}
{{ {'a': {'b': [1,2,{'c': 5}]}}.a.b[2].c }}
{{ (messages | first).role }} {{ (1 if true else 2) + 1 }} {{ -1 | abs }} {{ -messages | length }}
{{ 1 if x is defined and x.y else 0 }} {{ x is defined and x }}
{{ 5 | default(3) | string + 'a' }}
{{ '<a href="x">&\'' | e }} {{ '<b>' | escape }} {{ '<b>' | safe }}
{{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true) }} {{ 'foo bar' | truncate(11) }} {{ 'a b c' | wordcount }} {{ 'x' | center(5) }}|
{{ [1,2,3,4,5] | batch(2) | list }} {{ [1,2,3] | batch(2, 0) | list }}
{{ [{'a':1,'b':2},{'a':1,'b':3},{'a':2,'b':4}] | groupby('a') | list }}
{% for g, l in messages | groupby('role') %}{{ g }}:{{ l | length }};{% endfor %}
{{ 1_000 }} {{ 0x1F }} {{ 0b11 }} {{ 0o17 }} {{ 1.5e3 }} {{ 1e3 }}
{{ [1,2,][0] }} {{ {'a':1,}.a }} {{ (1,2,)[1] }} {{ [[1,2],[3]].0.1 }}
{{ joiner(',')() }} {% set j = joiner() %}{{ j() }}a{{ j() }}b
{{ [none, x] }}
{{ messages[0].items() | list }}
{{ 'a\tb' }} {{ 'a\tb' }} {{ 'a\\b' }} {{ "\"" }} {{ '\101' }} {{ '\u00e9' }} {{ '\q' }}
{% if messages %}y{% endif %}{% if x %}n{% elif 0 %}n{% elif 1 %}e{% else %}z{% endif %}
{% generation %}abc{% endgeneration %}
{{ true }} {{ True }} {{ none }} {{ None }} {{ false | string | lower }}
{{ "a" if messages[0]["content"] is string else "b" }}
{{ messages[0].content | length > 5 }} {{ 1 + 2 | string }} 
{{ [1,2,3] | map('string') | join }} {{ ['x']|map('default','q')|list }}
{{ 'x'.join('abc') }} {{ 'abc' | list }} {{ {'a':1} | list }} {{ 'ab' | map('upper') | list }}
{{ {}.foo }}{{ {}['foo'] }}{{ [].foo }}{{ 'a'.foo }}{{ none.foo }}{{ 1 .foo }}
{{ 'abc' is in 'xabcx' }} {{ ['a'] is in [['a']] }}
{% set f = messages[0] %}{{ f.content | trim | upper | replace('H', 'J') }}
{% set x = [] %}{% set x = x + [1] %}{{ x }}
{{ 9223372036854775807 }} {{ 1 == true }} {{ [1] == [true] }} {{ {'a':1} == {'a':1.0} }} {{ (1,) == [1] }}
{{ 1.0 * 3 }} {{ 10 / 4 }} {{ 0.1 + 0.2 }} {{ 1e308 * 10 }} {{ 3.0 == 3 }} {{ 3 // 2.0 }}
{% set tools = none %}{{ tools is none }}
{{ dict(a=1) | tojson }} {{ namespace(a=1).a }}
{{ "%.2f" | format(3.14159) }} {{ "%s" | format(none) }}
{{ strftime_now('%Y') | length }}
{{ 'ab\ncd' | tojson }} {{ 'é' | tojson }}
{{ [1,2,3][-2] }} {{ [1,2,3]['a'] }} {{ 'abc'['x'] }}
{{ 'a b'.split(' ')[1] }} {{ 'a</think>b'.split('</think>')[-1].lstrip('\n') }}
{{ messages | attr('x') }} {{ 'a' | attr('upper') is callable }}
{% if messages | selectattr('role', 'equalto', 'nobody') %}a generator is true{% endif %} {% if messages | selectattr('role', 'equalto', 'nobody') | list %}no{% endif %}
{% set g = [1, 2, 3] | map('string') %}{{ g | first }}{{ g | join }}|{{ g | list }}|{{ g | first is undefined }}
{% set g = [1, 2, 3] | select('odd') %}{{ 1 in g }}{{ 1 in g }}{{ g | list }}
{{ [1] | map('string') | length }}
{{ ([1] | map('string'))[0] }}
{{ [1, 2] | reverse | last }}
{% for x in [1, 2, 3] | reverse %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %} {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }}
{% set ns = namespace(seen=false) %}{% for x in [1, 2, 3] if not ns.seen %}{{ x }}{% set ns.seen = x == 2 %}{% endfor %}
{% set ns = namespace(seen=false) %}{% for x in [1, 2, 3] if not ns.seen %}{{ x }}{{ loop.last }}{% set ns.seen = true %}{% endfor %}
{% for x in [1, 2] %}{% continue %}{% else %}none was finished{% endfor %} {% for x in [1, 2] %}{% break %}{% else %}none{% endfor %} {% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}none{% endfor %}
{% for x in [1, [2, [3]]] recursive %}{{ loop.depth }}{{ x if x is number else loop(x) }};{% endfor %}
{% for x in [1, [2, 3]] recursive %}{% if x is number %}{{ x }}{{ loop.depth0 }}{% else %}{{ loop(x) | upper ~ '!' }}{% endif %}{% endfor %}
{% for x in [1] %}{{ loop(x) }}{% endfor %}
{{ {}.update is defined }} {{ [].append is defined }} {{ {'update': 1}['update'] }} {{ {'pop': 1}.pop is defined }}
{% set n = 5 %}{{ n[1:] }}
{{ messages[0][1:] }}
{{ {(1, 2): 'a'}[1, 2] }} {{ {(1, 'x'): 'a'}[(1, 'x')] }} {{ {(1,): 1, (true,): 2} }} {{ [(1, 2), (1, 2), (2, 1)] | unique | list }} {{ [x, y] | unique | list | length }}
{{ {[1]: 2} }}
{{ '{0!r} {0!s} {1!r:>5}'.format('a', 1) }} {{ '{:d} {:>4} {:.1f}'.format(3, 'b', 2.25) }}
{{ '{} {0}'.format(1) }}
{{ '{:>3}'.format(none) }}
{{ 5.3 % 0.1 }} {{ -5.3 % 0.1 }} {{ 5.3 // 0.1 }} {{ -0.0 // 1 }} {{ 1e300 % 7 }} {{ 7 % 1e300 }} {{ -7 % 1e300 }} {{ 6.0 // -4 }}
{{ 0.0 ** -1 }}
{{ 'abc' % [] }} {{ 'abc' % {} }}
{{ 'abc' % 'x' }}
{{ 'aB1'.istitle() }} {{ 'Ab Cd'.istitle() }} {{ '٣'.isdecimal() }} {{ '½'.isnumeric() }} {{ '½'.isdigit() }} {{ 'é'.isascii() }} {{ ''.isascii() }} {{ 'ß'.casefold() }} {{ 'a\tb\n\tc'.expandtabs(4) }} {{ 'a\x00'.isprintable() }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}
{{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ [1, 2, 3, 4, 5] | slice(3, 'x') | list }}
{{ x | int }}
{{ -0.0 | round(0, 'floor') }} {{ 2.5 | round }} {{ -2.5 | round }} {{ 1.25 | round(1) }} {{ 15 | round(-1) }}
{{ x is sequence }} {{ x is callable }} {{ ([1] | select) is iterable }} {{ ([1] | select) is sequence }}
{{ x | truncate(3) }}{{ [1] | truncate(3) }}
{{ [1, 2] | truncate(0, leeway=0) }}
{{ x | indent }}
{{ {1: 2, 'a': 3} | tojson(sort_keys=true) }}
{{ 'a' if true is defined if false else 'b' }}
"""

# White space, line ends and syntax errors.
SOURCES = [
    "a\n  {% if true %}\n b\n  {% endif %}\nc\n",
    "{%- if true -%}  x  {%- endif -%}  y",
    "a  {{- 1 -}}  b",
    "  {# c #}\nx",
    "  {#- c -#}\n x",
    "x {% raw %} {{ a }} {% b %} {% endraw %} y",
    "  {%- raw -%} {{ a }} {%- endraw -%} y",
    "\n{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\n\n",
    "{% if true %}\n\n a{% endif %}\r\nb\rc\n",
    "a\n\n",
    "{%+ if true %}\n  x\n  {%+ endif %}",
    "  {% if true +%}\n x{% endif %}",
    "\t{% if true %}\t{% endif %}\tz",
    "a{# x #}\nb",
    "a {#- x -#} b",
    "{{ '}}' }}",
    "{{ {'a': {'b': 1}}.a.b }}",
    "{% if true -%}\n\n x {%- else -%} y{% endif %}",
    "x{{ '' }}\n{{ 'a\nb' }}\n",
    "{%if true%}a{%endif%}",
    "{{'a'}}{{\"b\"}}",
    "{#\n multi\n#}\nx",
    "   {% set a = 1 %}   \n{{ a }}",
    "a   {% set a = 1 %}b",
    "{% raw %}\n  x\n{% endraw %}\ny",
    "  {% raw -%}\n  x\n  {%- endraw %}\ny",
    "{{ 1\n+ 2 }}\n{% if\n true\n%}\nx{% endif %}",
    "{",
    "{ {",
    "{{",
    "{{ 'a",
    "{% if",
    "{# a",
    "{% if true %}",
    "{% endif %}",
    "{% foo %}",
    "{{ 1 + }}",
    "{{ ) }}",
    "{{ (1 }}",
    "{{ [1 }}",
    "{{ {1 }}",
    "{{ a b }}",
    "{% for %}",
    "{% for a %}",
    "{% set %}",
    "{% set a.b = 1 %}",
    "{% set ns = namespace() %}{% set ns.a.b = 1 %}",
    "{% macro %}",
    "{% break %}",
    "{{ a is }}",
    "{{ a | }}",
    "{{ a. }}",
    "{{ a[ }}",
    "{{ f(a=1, 2) }}",
    "{{ ? }}",
    "{{ \u00e9 }}",
    "{{ 1 if }}",
    "{% else %}",
    "{% for a in b %}{% else %}{% else %}{% endfor %}",
    "{% if a %}{% else %}{% elif b %}{% endif %}",
    "{% set true = 1 %}",
    "{% raw %} x",
    "{{ }}",
    "{% %}",
    "{{ a is b is c }}",
    "{% call 5 %}{% endcall %}",
    "{{ ''''}}",
    "\ufeff{{ 1 }}",
    "{{ 'a' -}}\n\n b",
    "{{ 1 }}{%- if true %} x{% endif %}",
    "a\n   {{ 1 }}\n",
    "a\n   {%- if 1 %}x{% endif %}",
    "\n\n  {%- set a = 1 %}\n  x",
    "{% if true %}\n  {% if true %}\n    {{ 1 }}\n  {% endif %}\n{% endif %}\nend",
    "x\n   {% set q = 1 -%}\n   y",
    "{{ '\n' }}{% set a=1 %}\n\nb",
    "\u001c{%- if 1 %}a{% endif %}",
    "{% set x -%}\n a\n{%- endset %}[{{ x }}]",
]


class Generation(jinja2.ext.Extension):
    """{% generation %}: prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    """As transformers sets it up for chat templates."""
    result = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    result.filters["tojson"] = to_json
    result.globals["raise_exception"] = raise_exception
    result.globals["strftime_now"] = lambda format: "2000"
    return result


def case(template):
    try:
        text = environment().from_string(template).render(
            messages=MESSAGES, tools=None, documents=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
        return {"template": template, "text": text}
    except Exception as error:
        return {"template": template, "error": str(error)}


def main():
    templates = [line for line in LANGUAGE.split("\n") if line] + SOURCES
    cases = {"messages": MESSAGES, "cases": [case(template) for template in templates]}
    OUTPUT.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
