"""The package, and root directories to install it in: as in test/packaging."""

from test.packaging.conftest import packages as packages
