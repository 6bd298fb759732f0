"""Which names a spec may give: they become Python attributes and state-dict keys."""

from __future__ import annotations

import keyword
import re

from segc.diag import Report
from segc.op import REGISTRY, UNNAMED
from segc.read.yaml import Scalar

MAX_NAME = 63
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,5})\Z")

# Attributes of torch.nn.Module: a layer of that name would shadow them (torch is never imported
# here; a test compares this list with the real class).
_MODULE_NAMES = """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter
    get_submodule half ipu load_state_dict modules mtia named_buffers named_children named_modules
    named_parameters parameters register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu
    zero_grad
"""
MODULE_NAMES = frozenset(_MODULE_NAMES.split())
# Names the emitted module uses for itself.
MODULE_LOCALS = frozenset(("self", "torch", "nn", "F", "Tensor", "math", "torchvision", "super"))
# Words with a meaning of their own where a layer may be named.
REFERENCE_WORDS = frozenset(("input",))
RESERVED = MODULE_NAMES | MODULE_LOCALS
# A class of one of these names would hide the library its file imports.
LIBRARIES = frozenset(("torch", "torchvision", "numpy", "random", "math", "nn", "F", "Tensor"))


def check_layer_name(name: Scalar, report: Report) -> bool:
    """Report a layer name that cannot be an attribute of a module; numbers are allowed."""
    if _NUMBER.match(name.text):
        return True
    return check_identifier(name, report, "layer") and not _reserved(name, report)


def check_identifier(name: Scalar, report: Report, what: str) -> bool:
    """Report a name that is not an ASCII Python identifier of at most 63 characters."""
    text = name.text
    if _IDENTIFIER.match(text) and len(text) <= MAX_NAME and not keyword.iskeyword(text):
        return True
    if keyword.iskeyword(text):
        message = f"`{text}` is a word of Python"
        report.error("SEG306", message, name.loc, hint="choose another name")
        return False
    report.error(
        "SEG305",
        f"`{text}` cannot name {'an' if what[0] in 'io' else 'a'} {what}: it is not an identifier",
        name.loc,
        hint=f"use letters, digits and underscores, a letter first, at most {MAX_NAME}",
    )
    return False


def _reserved(name: Scalar, report: Report) -> bool:
    if name.text not in RESERVED and name.text not in REFERENCE_WORDS:
        return False
    owner = "torch.nn.Module" if name.text in MODULE_NAMES else "the emitted module"
    report.error(
        "SEG306",
        f"`{name.text}` is reserved: {owner} uses it",
        name.loc,
        hint=f"rename it, for example `{name.text}_`",
    )
    return True


def check_local(name: Scalar, report: Report) -> bool:
    """Report a parameter, input or size that would hide a name the emitted module uses."""
    if name.text not in MODULE_LOCALS:
        return True
    message = f"`{name.text}` is reserved: the emitted module uses it"
    report.error("SEG306", message, name.loc, hint=f"rename it, for example `{name.text}_`")
    return False


def check_function(name: Scalar, report: Report) -> None:
    """Report an input that would hide a function an operator brings with it."""
    if any(h.name == name.text for op in REGISTRY.values() for h in op.helpers):
        message = f"`{name.text}` is reserved: the emitted module has a function of that name"
        report.error("SEG306", message, name.loc, hint=f"rename it, for example `{name.text}_`")


def check_model_name(name: Scalar, report: Report) -> bool:
    """Report a class name that is no identifier or would hide a library."""
    if not check_identifier(name, report, "model"):
        return False
    if name.text in LIBRARIES or name.text.lower() in LIBRARIES:
        message = f"a model named `{name.text}` would hide a library"
        report.error("SEG306", message, name.loc, hint="choose another name")
        return False
    if any(h.name == name.text for op in UNNAMED.values() for h in op.helpers):
        message = f"`{name.text}` is reserved: emitted modules have a layer of that name"
        report.error("SEG306", message, name.loc, hint="choose another name")
        return False
    return True
