"""What README.md shows under "Use" works, line by line, for root too."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import BINARY, MPIRUN, REPOSITORY, launch

BASH = shutil.which("bash")

USE = re.search(r"^## Use\n(.*?)^\| Command", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]


def test_the_first_commands_give_distances_that_python_reads(tmp_path):
    (commands,) = re.findall(r"^```bash\n(.*?)^```", USE, re.MULTILINE | re.DOTALL)
    (program,) = re.findall(r"^```python\n(.*?)^```", USE, re.MULTILINE | re.DOTALL)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/release").symlink_to(BINARY.parent)
    assert commands.count("pairdist ") == 3
    # of this machine, not of the commands
    unset = "unset OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM\n"
    done = launch(["bash", "-euc", unset + commands], cwd=tmp_path)
    assert done.returncode == 0, done
    assert "verified" in done.stdout
    printed = launch([sys.executable, "-c", program], cwd=tmp_path).stdout
    numbers = [float(word) for word in printed.strip("[]\n").split()]
    assert len(numbers) == 5 and numbers[0] == 0 and all(number > 0 for number in numbers[1:]), printed


def test_the_neighbours_go_where_the_readme_says(tmp_path):
    section = re.search(r"^### Neighbours\n(.*?)^###", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    (commands,) = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    programs = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (umap,) = re.findall(r"`(compute x.h5 -o u.h5 [^`]*)`", section)
    (tmp_path / "pairdist").symlink_to(BINARY)
    made = "export PATH=$PWD:$PATH\npairdist generate x.h5 --samples 400 --features 5 --distribution blobs\n"
    done = launch(["bash", "-euc", f"{made}{commands}pairdist {umap}"], cwd=tmp_path)
    assert done.returncode == 0 and "neighbours (of 100 random samples" in done.stdout, done
    told = "print(len(set(labels) - {-1}), knn[0].shape, (knn[0][:, 0] == range(400)).all())\nprint(*h5py.File('truth.hdf5'))"
    printed = launch([sys.executable, "-c", "\n".join([*programs, told])], cwd=tmp_path)
    assert printed.returncode == 0, printed
    clusters, rest = printed.stdout.split(maxsplit=1)
    assert 5 <= int(clusters) <= 20 and rest == "(400, 15) True\ndistances neighbors\n", printed


def test_what_lies_within_a_radius_and_half_the_matrix_go_where_the_readme_says(tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    sections = [re.search(rf"^### {title}\n(.*?)^###", readme, re.MULTILINE | re.DOTALL)[1] for title in ("Within a radius", "Half the matrix")]
    commands, programs = ([text for section in sections for text in re.findall(rf"^```{word}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)] for word in ("bash", "python"))
    (in_anndata,) = re.findall(r'`adata.obsp\["distances"\] = ([^`]*)`', sections[0])
    (tmp_path / "pairdist").symlink_to(BINARY)
    made = "export PATH=$PWD:$PATH\npairdist generate x.h5 --samples 400 --features 5 --distribution blobs\n"
    done = launch(["bash", "-euc", made + "".join(commands)], cwd=tmp_path)
    assert done.returncode == 0, done
    assert "distances within the radius (of 100 random samples" in done.stdout and "condensed distances (random pairs" in done.stdout
    told = f"import anndata\nsame = ({in_anndata} != graph).nnz\nprint(len(set(labels) - {{-1}}), count, len(set(groups)), graph.diagonal().sum(), same > 0)"
    printed = launch([sys.executable, "-c", "\n".join([*programs, told])], cwd=tmp_path)
    assert printed.returncode == 0, printed
    clusters, count, groups, *rest = printed.stdout.split()
    # the weights of the graph were replaced by ones
    assert 5 <= int(clusters) <= 20 and int(count) >= int(clusters) and groups == "10" and rest == ["400.0", "True"], printed


def test_what_mpirun_needs_where_there_is_no_ssh(tmp_path):
    if "Open MPI" not in subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("another MPI, which needs no ssh")
    assert "or `OMPI_MCA_plm=isolated` in a container without one" in (REPOSITORY / "README.md").read_text()
    (tmp_path / "bin").mkdir()
    for name in ("mpirun", "orted"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(MPIRUN if name == "mpirun" else name))
    (tmp_path / "bin/pairdist").symlink_to(BINARY)
    launch([BINARY, "generate", "x.h5", "--samples", "9", "--features", "3"], cwd=tmp_path)
    path = f"export PATH={tmp_path}/bin; mpirun -n 2 pairdist compute x.h5 --no-output"
    assert "ssh" in launch([BASH, "-c", path], cwd=tmp_path).stderr
    done = launch([BASH, "-c", f"export OMPI_MCA_plm=isolated; {path}"], cwd=tmp_path)
    assert done.returncode == 0, done


def test_many_files_and_a_limit_of_memory_work_as_the_readme_says(tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    sections = [re.search(rf"^### {title}\n(.*?)^###", readme, re.MULTILINE | re.DOTALL)[1] for title in ("Many files", "Larger than memory")]
    commands = [text for section in sections for text in re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)]
    (tmp_path / "pairdist").symlink_to(BINARY)
    made = "export PATH=$PWD:$PATH\n" + "".join(
        f"pairdist generate {name}.h5 --samples 300 --features 5 --seed {seed}\n" for seed, name in enumerate(("x", "part-1", "part-2", "part-3"))
    )
    done = launch(["bash", "-euc", made + "".join(commands) + "pairdist verify parts.h5 --all\n"], cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("neighbors    15 of every sample") == 3, done
