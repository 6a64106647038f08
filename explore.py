import torch, time, sys, itertools
from torch import nn
from rtune.robust import PreActResNet, PGD
from rtune.robust import convolution as C, kernels as K
from rtune.robust.models.parts import conv
dev="cuda"
def timed(f, n=20):
    f(); torch.cuda.synchronize()
    s=torch.cuda.Stream()
    with torch.cuda.stream(s): f()
    torch.cuda.synchronize()
    g=torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        for _ in range(n): f()
    g.replay(); torch.cuda.synchronize()
    best=[]
    for _ in range(5):
        t=time.perf_counter(); g.replay(); torch.cuda.synchronize(); best.append((time.perf_counter()-t)/n*1e6)
    return sorted(best)[2]
for G,ci,side in ((1,16,32),(1,32,16),(1,64,8),(2,16,32)):
    sh=C.Shape(G,ci,ci,3,1)
    x=torch.randn(128,G*ci,side,side,device=dev,dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    w=torch.randn(G,9,ci,ci,device=dev,dtype=torch.bfloat16); res=torch.randn_like(x); s=torch.rand(G*ci,device=dev); b=torch.rand(G*ci,device=dev)
    out=torch.empty_like(x); act=torch.empty_like(x)
    pixels=128*side*side; bc=C.block(ci)
    for name in ("fwd","bwd"):
        r=[]
        for rows,warps,stages in itertools.product((32,64,128,256),(2,4,8),(2,3,4)):
            if rows<64 and ci<64: continue
            if rows*bc//(warps*32)>128: continue
            grid=(-(-pixels//rows),G,1)
            def f():
                if name=="fwd": K.convolve[grid](x,w,res,s,b,out,act,pixels,side,side,side,side,ci,ci,3,1,G,rows,bc,bc,"tf32",num_warps=warps,num_stages=stages)
                else: K.input_gradient[grid](x,w,None,act,s,res,out,None,0.,0.,pixels,side,side,side,side,ci,ci,3,1,G,rows,bc,bc,"tf32",num_warps=warps,num_stages=stages)
            try: r.append((timed(f),rows,warps,stages))
            except Exception as e: r.append((1e9,repr(e)[:80],0,0))
        r.sort(key=lambda t:t[0])
        base=[t for t in r if t[1:]==(128 if pixels*G>=264*128 else 64,4,3)]
        print(G,ci,side,name,"best",[(round(t[0],2),)+t[1:] for t in r[:5]],"now",base,flush=True)
    grad=torch.randn_like(x)
    for prog,rows in itertools.product((132,264,528,1056,2112),(64,128)):
        C._PROGRAMS=prog//4; 
        print("   wgrad",prog,round(timed(lambda:C.weight_gradient(x,grad,sh)),1), end="")
    print()
