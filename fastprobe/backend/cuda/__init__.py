"""The CUDA backend.

Only :mod:`~fastprobe.backend.cuda.open` and what it imports load CuPy, and only when a GPU is asked for.

=================  ====================================================================================
``presence``       whether this process can use a GPU, and what to install where it cannot
``open``           from a device number to a backend
``backend``        the operations
``dense``          which routine of which library, and with what layout: factorisations and products
``spread``         products with all sets at once
``libraries``      those routines, on CuPy's bindings
``gpu``            one device: its memory, its streams, copies to and from it
``modules``        compiling and launching our kernels
``foreign``        arrays that other libraries keep on a GPU
=================  ====================================================================================
"""
