# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""NonMaxSuppression on what stands in for a GPU, against a model in NumPy: ties, NaN, several images and classes."""

from test_long_rows import h, model_of, run
import numpy as np, onnx, pytest

def nms(boxes, scores, most, iou, least, center):
    out=[]
    for i in range(boxes.shape[0]):
        for c in range(scores.shape[1]):
            b=boxes[i].astype(np.float32)
            if center: r=b[:,2:]*np.float32(.5); lo,hi=b[:,:2]-r,b[:,:2]+r
            else: lo,hi=np.minimum(b[:,:2],b[:,2:]),np.maximum(b[:,:2],b[:,2:])
            area=(hi-lo).prod(1); s=scores[i,c]; alive=s>least
            n=0
            while n<most and alive.any():
                k=int(np.argmax(np.where(alive,s,-np.inf))); out.append((i,c,k)); n+=1
                alive[k]=False
                l=np.maximum(lo,lo[k]); h=np.minimum(hi,hi[k])
                common=(h-l).prod(1); both=area+area[k]-common
                with np.errstate(all="ignore"):
                    alive&=~((l<h).all(1)&(area>0)&(area[k]>0)&(both>0)&(common/both>np.float32(iou)))
    return np.array(out,np.int64).reshape(-1,3)

@pytest.mark.parametrize("center",[0,1])
@pytest.mark.parametrize("most",[7,400])
def test_selection(tmp_path,center,most):
    r=np.random.default_rng(3); n=600
    c=r.random((2,n,4)).astype(np.float32); boxes=c if not center else c*np.float32([1,1,.4,.4])
    scores=r.integers(-4,20,(2,3,n)).astype(np.float32)/8; scores[r.random(scores.shape)<.1]=np.nan; scores[1,2]=-9
    node=h.make_node("NonMaxSuppression",["boxes","scores","most","iou","least"],["y"],center_point_box=center)
    model_of(tmp_path/"m.onnx",[node],{"boxes":boxes.shape,"scores":scores.shape},{"y":onnx.TensorProto.INT64},{"most":np.array([most]),"iou":np.float32([.3]),"least":np.float32([-.25])})
    got,_,_=run(tmp_path/"m.onnx",tmp_path,{"boxes":boxes,"scores":scores})
    np.testing.assert_array_equal(got["y"],nms(boxes,scores,most,.3,-.25,center))
