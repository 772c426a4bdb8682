"""An alias of Conan 1."""

from conans import ConanFile


class Alias(ConanFile):
    name = "header"
    version = "latest"
    alias = "header/1.0@demo/testing"
