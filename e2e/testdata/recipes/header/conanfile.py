"""A header-only package: no settings, so Conan 2 writes an empty conaninfo.txt."""

import os

from conan import ConanFile
from conan.tools.files import copy


class Header(ConanFile):
    name = "header"
    version = "1.0"
    exports_sources = "*.h"
    no_copy_source = True

    def package(self):
        copy(self, "*.h", self.source_folder, os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
