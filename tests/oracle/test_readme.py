"""What README.md shows under "Use" works, line by line."""

import re
import sys

from conftest import BINARY, REPOSITORY, launch

USE = re.search(r"^## Use\n(.*?)^\| Command", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]


def test_the_first_commands_give_distances_that_python_reads(tmp_path):
    (commands,) = re.findall(r"^```bash\n(.*?)^```", USE, re.MULTILINE | re.DOTALL)
    (program,) = re.findall(r"^```python\n(.*?)^```", USE, re.MULTILINE | re.DOTALL)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/release").symlink_to(BINARY.parent)
    assert commands.count("pairdist ") == 3
    done = launch(["bash", "-euc", commands], cwd=tmp_path)
    assert done.returncode == 0, done
    assert "verified" in done.stdout
    printed = launch([sys.executable, "-c", program], cwd=tmp_path).stdout
    numbers = [float(word) for word in printed.strip("[]\n").split()]
    assert len(numbers) == 5 and numbers[0] == 0 and all(number > 0 for number in numbers[1:]), printed
