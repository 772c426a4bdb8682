import os
try:
    from conan import ConanFile
except ImportError:
    from conans import ConanFile
class H(ConanFile):
    name="hello"; version="1.0"
    exports="*.txt", "a", "a.x", "a b", "a-"
    exports_sources="src/*"
    settings="os"
    def package(self):
        p=self.package_folder
        def w(n,c="x"):
            f=os.path.join(p,n); os.makedirs(os.path.dirname(f),exist_ok=True); open(f,"w").write(c)
        w("lib/libz.so.1.2","elf"*100); 
        os.symlink("libz.so.1.2",os.path.join(p,"lib/libz.so.1")); os.symlink("libz.so.1",os.path.join(p,"lib/libz.so"))
        os.symlink("lib",os.path.join(p,"lib64"))
        os.symlink("../lib/libz.so",os.path.join(p,"lib/up.so"))
        w("share/man/Foo::Bar.3","m"); w("share/ä ö/ü: x.txt","u"); w("a","1"); w("a.x","2"); w("a b","3"); w("a-","4")
        w("py/m.py","import os"); w("py/__pycache__/m.cpython-311.pyc","pyc"); w("x/.DS_Store","ds"); w("x/y","y"); w("__conan_x","z")
        os.makedirs(os.path.join(p,"empty/dir"),exist_ok=True)
        os.link(os.path.join(p,"a"),os.path.join(p,"zhard"))
        w("long/"+"d"*90+"/"+"e"*90+"/"+"f"*90,"long")
        if os.environ.get("BROKEN"):
            os.symlink("nowhere",os.path.join(p,"broken")); os.symlink("/usr/lib/abs",os.path.join(p,"absolute"))
        os.symlink("/etc/hostname",os.path.join(p,"absfile"))
