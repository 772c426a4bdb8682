"""Packages a tree of headers, archives and shared libraries as it is, symlinks included."""

import os
import shutil

from conan import ConanFile


class Debian(ConanFile):
    name = "NAME"
    version = "VERSION"
    license = "see licenses"
    url = "https://www.debian.org"
    description = "NAME as Debian builds it"
    settings = "os", "arch", "compiler", "build_type"
    deps = DEPENDENCIES
    libs = LIBRARIES

    def requirements(self):
        for dep in self.deps:
            self.requires(dep)

    def package(self):
        shutil.copytree(os.path.join(self.source_folder, "tree"), self.package_folder, symlinks=True, dirs_exist_ok=True)

    def package_info(self):
        self.cpp_info.libs = self.libs
