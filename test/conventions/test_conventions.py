# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tree keeps to the rules."""
import pytest

import rules


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.__name__)
def test_tree(rule):
    found = rule(rules.ROOT)
    assert not found, "\n" + "\n".join(found)


def test_something_is_checked():
    assert len(list(rules.files(rules.ROOT, rules.CPP))) > 10
