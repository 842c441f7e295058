"""Calls of a flow: functions, builtins, classes, methods, values; and functions as values."""

import ast
from collections.abc import Callable
from typing import Any

from flowengine.language import tree
from flowengine.language.emitter import LOAD, known
from flowengine.language.functions import Builtin
from flowengine.language.linking import ClassInfo, FunctionInfo
from flowengine.language.natives import NativeClass
from flowengine.language.places import Places


class Calls(Places):
    """The part of the emitter that knows calls."""

    define: Callable[[FunctionInfo], str]

    def function_name(self, one: tree.Name) -> ast.expr:
        return self.value_of(self.unit.checked.targets[one], one.name)

    def value_of(self, target: Any, name: str) -> ast.expr:
        """A function as a value."""
        if isinstance(target, FunctionInfo):
            least, most = self.constant(target.node.least), self.constant(target.node.most)
            own = (self.constant(name), self.name(target.label), self.name("run"), self.name("g"), least, most)
            return self.call("function_value", *own)
        if self.unit.trace:
            span = self.name(self.unit.constant(self.span()))
            return self.with_run("traced_value", span, self.constant(name), self.builtin(target))
        return self.with_run("builtin_value", self.constant(name), self.builtin(target))

    def builtin(self, target: Builtin) -> ast.expr:
        """The adapter of a builtin."""
        plain = "".join(one if one.isalnum() else "_" for one in target.name)
        name = f"b_{plain}"
        while self.unit.namespace.setdefault(name, target.call) is not target.call:
            name += "_"
        return self.name(name)

    def function(self, one: tree.Function) -> ast.expr:
        info = self.scope.module.infos[one]
        name = self.define(info)
        return self.with_run("closure", self.name(name), self.constant(one.least), self.constant(one.most))

    def given(self, arguments: tuple[tree.Item, ...], *, share: bool = True) -> list[ast.expr]:
        """The arguments of a call."""
        values: list[ast.expr] = []
        for item in arguments:
            value = self.expression(item.value)
            if item.spread:
                values.append(ast.Starred(self.call("arguments", value), LOAD, **self.where))
            else:
                values.append(self.shared(value, item.value) if share else value)
        return values

    def function_call(self, one: tree.Call) -> ast.expr:
        function = one.function
        if isinstance(function, tree.Name):
            return self.call_target(self.unit.checked.targets[function], function.name, one)
        if isinstance(function, tree.Static) and not function.variable:
            return self.call_static(function, one)
        if isinstance(function, tree.Member):
            base = self.expression(function.base)
            rest = (self.constant(function.name), self.inside(), *self.given(one.arguments))
            if self.unit.trace:
                return self.with_run("invoke_traced", self.name(self.unit.constant(one.span)), base, *rest)
            return self.with_run("invoke", base, *rest)
        return self.call("call_value", self.expression(function), *self.given(one.arguments))

    def call_target(self, target: Any, name: str, one: tree.Call) -> ast.expr:
        """A call of something that has a name."""
        if isinstance(target, FunctionInfo):
            values = self.given(one.arguments)
            own = (self.name("run"), self.name("g"))
            if any(item.spread for item in one.arguments):
                limits = (self.constant(target.node.least), self.constant(target.node.most))
                return self.call("call_checked", self.constant(name), *limits, self.name(target.label), *own, *values)
            return self.call(target.label, *own, *values)
        if isinstance(target, ClassInfo):
            own_class = self.name("c_" + target.label)
            return self.with_run("create", self.name("g"), own_class, self.inside(), *self.given(one.arguments))
        if isinstance(target, NativeClass):
            return self.builtin_call(known(target.constructor), one)
        return self.builtin_call(target, one)

    def builtin_call(self, builtin: Builtin, one: tree.Call) -> ast.expr:
        """A call of a builtin, straight to its adapter."""
        values = self.given(one.arguments, share=may_keep(builtin))
        adapter = self.builtin(builtin)
        if self.unit.trace:
            span = self.name(self.unit.constant(one.span))
            return self.with_run("traced", span, self.constant(builtin.name), adapter, *values)
        return ast.Call(adapter, [self.name("run"), *values], [], **self.where)

    def call_static(self, function: tree.Static, one: tree.Call) -> ast.expr:
        owner = self.static_owner(function)
        if not isinstance(owner, ClassInfo):
            return self.call_target(self.unit.checked.targets[function], function.name, one)
        info = self.scope.info
        this: ast.expr = self.constant(None)
        if function.owner == "static" and info is not None and "this" in self.scope.parameters:
            this = self.name("v_this")
        own = (self.name("g"), self.name("c_" + owner.label), self.constant(function.name), self.inside(), this)
        return self.with_run("invoke_static", *own, *self.given(one.arguments))

    def cached(self, one: tree.Cached) -> ast.expr:
        function = one.call.function
        options = self.constant(None) if one.options is None else self.expression(one.options)
        name = getattr(function, "name", "")
        if isinstance(function, tree.Static):
            name = f"{function.owner}::{name}"
        elif isinstance(function, tree.Name) and function.builtin:
            name = f"builtin {name}"
        target = self.unit.checked.targets.get(function)
        if isinstance(target, FunctionInfo):
            name = f"{target.node.span.file}:{name}"
        return self.with_run(
            "cached", options, self.constant(name), self.expression(function), *self.given(one.call.arguments)
        )


def may_keep(builtin: Builtin) -> bool:
    """Whether the result of a builtin may hold an array that it was given."""
    return any(word in str(builtin.returns) for word in ("Array", "Any", "object"))
